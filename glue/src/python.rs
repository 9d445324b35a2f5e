//! What Python and jinja2 do and minijinja does otherwise: how floats are printed, some filters and
//! tests, some methods of str.

use crate::json;
use minijinja::value::{from_args, Kwargs, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Output, State};

pub fn install(environment: &mut Environment) {
    environment.set_formatter(print);
    environment.set_unknown_method_callback(method);
    environment.add_filter("e", escape);
    environment.add_filter("escape", escape);
    environment.add_filter("int", int);
    environment.add_filter("float", float);
    environment.remove_filter("pprint");        // takes the square of the depth, unpaid
    environment.add_test("iterable", is_iterable);
    environment.add_test("callable", |value: Value| value.kind() == ValueKind::Plain);
}

/// Prints an expression's value as Python's str() would.
fn print(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    if value.kind() == ValueKind::Number && !value.is_integer() {
        if let Ok(number) = f64::try_from(value.clone()) {
            if number.is_finite() {
                out.write_str(&json::float(number)).map_err(|_| Error::from(ErrorKind::WriteFailure))?;
                return Ok(());
            }
        }
    }
    minijinja::escape_formatter(out, state, value)
}

fn escape(value: Value) -> String {
    let text = value.to_string();
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// None is not iterable in Python; templates ask this of `tools` before they count them.
fn is_iterable(value: Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable | ValueKind::String | ValueKind::Undefined)
}

fn int(value: Value, default: Option<Value>, options: Kwargs) -> Result<Value, Error> {
    let default = match default {
        Some(default) => default,
        None => options.get::<Option<Value>>("default")?.unwrap_or(Value::from(0)),
    };
    options.assert_all_used()?;
    let number = match value.as_str() {
        Some(s) => s.trim().parse::<i64>().ok().or_else(|| s.trim().parse::<f64>().ok().and_then(whole)),
        None if value.is_integer() => return Ok(value),
        None if value.kind() == ValueKind::Bool => Some(i64::from(value.is_true())),
        None => f64::try_from(value).ok().and_then(whole),
    };
    Ok(number.map_or(default, Value::from))
}

fn whole(number: f64) -> Option<i64> {
    (number.abs() < 9e18).then_some(number as i64)
}

fn float(value: Value, default: Option<Value>) -> Value {
    let number = match value.as_str() {
        Some(s) => s.trim().parse::<f64>().ok(),
        None if value.kind() == ValueKind::Bool => Some(f64::from(u8::from(value.is_true()))),
        None => f64::try_from(value).ok(),
    };
    number.map_or_else(|| default.unwrap_or(Value::from(0.0)), Value::from)
}

fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if let Some(s) = value.as_str() {
        match name {
            "partition" | "rpartition" => return partition(s, name, args),
            "index" | "rindex" => return index(s, name, args),
            "removeprefix" => {
                let (prefix,): (&str,) = from_args(args)?;
                return Ok(Value::from(s.strip_prefix(prefix).unwrap_or(s)));
            }
            "removesuffix" => {
                let (suffix,): (&str,) = from_args(args)?;
                return Ok(Value::from(s.strip_suffix(suffix).unwrap_or(s)));
            }
            "zfill" => return zfill(state, s, args),
            _ => {}
        }
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args)
}

fn partition(s: &str, name: &str, args: &[Value]) -> Result<Value, Error> {
    let (separator,): (&str,) = from_args(args)?;
    if separator.is_empty() {
        return Err(Error::new(ErrorKind::InvalidOperation, "empty separator"));
    }
    let parts = match name {
        "partition" => s.split_once(separator).map_or((s, "", ""), |(a, b)| (a, separator, b)),
        _ => s.rsplit_once(separator).map_or(("", "", s), |(a, b)| (a, separator, b)),
    };
    Ok(Value::from(minijinja::value::Tuple::from(vec![
        Value::from(parts.0),
        Value::from(parts.1),
        Value::from(parts.2),
    ])))
}

fn index(s: &str, name: &str, args: &[Value]) -> Result<Value, Error> {
    let (wanted,): (&str,) = from_args(args)?;
    let found = if name == "index" { s.find(wanted) } else { s.rfind(wanted) };
    match found {
        Some(at) => Ok(Value::from(s[..at].chars().count())),
        None => Err(Error::new(ErrorKind::InvalidOperation, "substring not found")),
    }
}

fn zfill(state: &State, s: &str, args: &[Value]) -> Result<Value, Error> {
    let (width,): (usize,) = from_args(args)?;
    let missing = width.saturating_sub(s.chars().count());
    let (sign, digits) = s.split_at(usize::from(s.starts_with(['+', '-'])));
    state.consume_fuel(missing as u64 / 8)?;
    Ok(Value::from(format!("{sign}{}{digits}", "0".repeat(missing))))
}
