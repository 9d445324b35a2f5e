//! A chat template in the environment that Hugging Face's transformers gives it, under limits.
//!
//! The hard thing is likeness to Python: models saw prompts that jinja2 rendered, so what a template
//! prints, its string methods and its JSON must come out the same. See `json` and `python`.

use crate::{json, python, source};
use minijinja::value::{Kwargs, Value};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State};
use std::collections::BTreeMap;
use std::ffi::{c_char, c_void, CString};
use std::fmt;

/// A unit of fuel is a step, or 64 bytes of text made. What a render may use grows with what it is
/// given, so that a hostile template ends within a second and long conversations still fit.
const FUEL_MIN: u64 = 1_000_000;
const FUEL_MAX: u64 = 8_000_000;
const FUEL_PER_BYTE: u64 = 4;
const RECURSION_MAX: usize = 120;
const NAME: &str = "template";

/// As C's strftime of the current time: the bytes written, 0 if they don't fit.
pub type ClockFn = unsafe extern "C" fn(*mut c_void, *const c_char, *mut c_char, usize) -> usize;

const CLOCK_BYTES_MAX: usize = 256;

/// The caller's clock and its context, which is a number here because it may cross threads.
#[derive(Clone, Copy)]
pub struct Clock {
    pub function: ClockFn,
    pub context: usize,
}

pub struct Template {
    environment: Environment<'static>,
    bos: Value,
    eos: Value,
}

pub enum Failure {
    /// The template called raise_exception: these are its words, meant for whoever wrote the messages.
    Raised(String),
    Failed(String),
}

#[derive(Debug)]
struct Raised(String);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

fn invalid(text: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, text)
}

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(invalid("raise_exception").with_source(Raised(message)))
}

fn strftime_now(clock: Clock, format: &str) -> Result<String, Error> {
    let format = CString::new(format).map_err(|_| invalid("strftime_now: the format holds a NUL"))?;
    let mut out = [0u8; CLOCK_BYTES_MAX];
    // SAFETY: pensieve_glue.h asks for a function that writes at most as much as it is told to.
    let n = unsafe {
        (clock.function)(clock.context as *mut c_void, format.as_ptr(), out.as_mut_ptr().cast(), out.len())
    };
    match out.get(..n).map(|text| String::from_utf8(text.to_vec())) {
        Some(Ok(text)) if n > 0 => Ok(text),
        _ => Err(invalid("strftime_now: the time does not fit")),
    }
}

fn tojson(state: &State, value: Value, indent: Option<Value>, options: Kwargs) -> Result<Value, Error> {
    let indent = match indent {
        Some(indent) => Some(indent),
        None => options.get::<Option<Value>>("indent")?,
    };
    let indent = match indent {
        Some(n) if !n.is_none() => Some(usize::try_from(n)?.min(64)),
        _ => None,
    };
    let separators = match options.get::<Option<Value>>("separators")? {
        Some(pair) if !pair.is_none() => Some((
            pair.get_item(&Value::from(0))?.to_string(),
            pair.get_item(&Value::from(1))?.to_string(),
        )),
        _ => None,
    };
    let (item_separator, key_separator) = separators
        .unwrap_or_else(|| (if indent.is_some() { "," } else { ", " }.into(), ": ".into()));
    let style = json::Style {
        indent,
        ascii: options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sort_keys: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        item_separator,
        key_separator,
    };
    options.assert_all_used()?;
    let left = state.fuel_levels().map_or(0, |(_, left)| left);
    let text = json::dumps(&value, &style, usize::try_from(left).unwrap_or(usize::MAX))?;
    state.consume_fuel(text.len() as u64 / 8)?;
    Ok(Value::from(text))
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();

    let syntax = environment.syntax().to_builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("the ordinary delimiters"));
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    python::install(&mut environment);
    environment.set_recursion_limit(RECURSION_MAX);
    environment.add_function("raise_exception", raise_exception);
    environment.add_filter("tojson", tojson);
    environment
}

impl Template {
    pub fn new(source: &str, bos: &str, eos: &str) -> Result<Template, String> {
        let source = source::prepare(source)?;
        let mut environment = environment();
        environment
            .add_template_owned(NAME, source)
            .map_err(|error| error.to_string())?;
        Ok(Template { environment, bos: bos.into(), eos: eos.into() })
    }

    /// context: a JSON object. The output is at most output_max bytes.
    pub fn render(&self, context: &[u8], output_max: usize, clock: Clock) -> Result<Vec<u8>, Failure> {
        let fields: BTreeMap<String, Value> = serde_json::from_slice(context)
            .map_err(|error| Failure::Failed(format!("context: {error}")))?;
        let fuel = FUEL_MIN + FUEL_PER_BYTE * context.len() as u64;
        let tokens = [("bos_token".to_string(), self.bos.clone()), ("eos_token".to_string(), self.eos.clone())];
        let context = Value::from_pairs(tokens.into_iter().chain(fields));
        let mut environment = self.environment.clone();         // shares all but what is set here
        environment.set_fuel(Some(fuel.min(FUEL_MAX)));
        environment.add_function("strftime_now", move |format: &str| strftime_now(clock, format));
        let mut out = Limited { bytes: Vec::new(), max: output_max };
        environment
            .get_template(NAME)
            .and_then(|template| template.render_captured_to(context, &mut out).map(drop))
            .map_err(|error| failure_of(&error))?;
        Ok(out.bytes)
    }
}

fn failure_of(error: &Error) -> Failure {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);

    while let Some(inner) = cause {
        if let Some(raised) = inner.downcast_ref::<Raised>() {
            return Failure::Raised(raised.0.clone());
        }
        cause = inner.source();
    }
    Failure::Failed(error.to_string())
}

struct Limited {
    bytes: Vec<u8>,
    max: usize,
}

impl std::io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if bytes.len() > self.max - self.bytes.len() {
            return Err(std::io::Error::other("the output is too large"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
