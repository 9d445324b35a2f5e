//! The C ABI of pensieve_glue.h; grammar_abi.rs is that of pensieve_grammar.h. Nothing here may unwind into C: a panic becomes an error.

mod budget;
mod grammar;
mod grammar_abi;
mod json;
mod python;
mod schema;
mod source;
mod template;

use budget::Lost;
use std::ffi::c_void;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::Arc;
use template::{Clock, ClockFn, Failure, Template};

/// What a template may have in memory at a time: so much, and so much for each byte it is given.
const MEMORY_MIN: usize = 128 << 20;
const MEMORY_PER_BYTE: usize = 16;

/// Bytes that belong to Rust until glue_text_free.
#[repr(C)]
pub struct GlueText {
    s: *mut u8,
    n: usize,
}

#[repr(C)]
pub enum GlueResult {
    Ok = 0,
    Raised = 1,
    Failed = 2,
}

pub struct GlueTemplate {
    template: Arc<Template>,
    spent: AtomicBool,                  // it used up its budget once, and is not rendered again
}

/// # Safety
/// s points to n bytes, or n is 0.
unsafe fn bytes_of<'a>(s: *const u8, n: usize) -> &'a [u8] {
    if n == 0 {
        return &[];
    }
    std::slice::from_raw_parts(s, n)
}

/// # Safety
/// out is valid for writing.
unsafe fn put(out: *mut GlueText, bytes: Vec<u8>) {
    let bytes = bytes.into_boxed_slice();
    let n = bytes.len();
    *out = GlueText { s: Box::into_raw(bytes).cast(), n };
}

fn say(lost: &Lost) -> String {
    match lost {
        Lost::Panicked => "the template engine failed".into(),
        Lost::Spent => "it takes too much memory or time".into(),
        Lost::NoThread(error) => format!("no thread for it: {error}"),
    }
}

/// A panic says what it was through the error it becomes, not on standard error.
fn keep_quiet() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| std::panic::set_hook(Box::new(|_| {})));
}

fn compile(source: &[u8], bos: &[u8], eos: &[u8]) -> Result<GlueTemplate, String> {
    let text = |bytes: &[u8]| {
        String::from_utf8(bytes.to_vec()).map_err(|_| "it is not valid UTF-8".to_string())
    };
    let (source, bos, eos) = (text(source)?, text(bos)?, text(eos)?);
    let memory = MEMORY_MIN + MEMORY_PER_BYTE * source.len();
    let made = budget::run(memory, move || Template::new(&source, &bos, &eos));
    let template = Arc::new(made.map_err(|lost| say(&lost))??);
    Ok(GlueTemplate { template, spent: AtomicBool::new(false) })
}

fn render(glue: &GlueTemplate, context: &[u8], output_max: usize, clock: Clock) -> Result<Vec<u8>, Failure> {
    if glue.spent.load(Relaxed) {
        return Err(Failure::Failed("it took too much memory or time before".into()));
    }
    let (template, context) = (glue.template.clone(), context.to_vec());
    let memory = MEMORY_MIN + MEMORY_PER_BYTE * context.len();
    budget::run(memory, move || template.render(&context, output_max, clock)).unwrap_or_else(|lost| {
        glue.spent.fetch_or(matches!(lost, Lost::Spent), Relaxed);
        Err(Failure::Failed(say(&lost)))
    })
}

/// # Safety
/// As pensieve_glue.h says.
#[no_mangle]
pub unsafe extern "C" fn glue_template_new(
    source: *const u8,
    source_n: usize,
    bos: *const u8,
    bos_n: usize,
    eos: *const u8,
    eos_n: usize,
    error: *mut GlueText,
) -> *mut GlueTemplate {
    let (source, bos, eos) = (bytes_of(source, source_n), bytes_of(bos, bos_n), bytes_of(eos, eos_n));
    let made = catch_unwind(|| {
        keep_quiet();
        compile(source, bos, eos)
    });
    match made.unwrap_or_else(|_| Err(say(&Lost::Panicked))) {
        Ok(template) => Box::into_raw(Box::new(template)),
        Err(text) => {
            put(error, text.into_bytes());
            std::ptr::null_mut()
        }
    }
}

/// # Safety
/// template comes from glue_template_new and is not used again; NULL is allowed.
#[no_mangle]
pub unsafe extern "C" fn glue_template_free(template: *mut GlueTemplate) {
    if !template.is_null() {
        let template = Box::from_raw(template);
        let _ = catch_unwind(AssertUnwindSafe(|| drop(template)));
    }
}

/// # Safety
/// As pensieve_glue.h says.
#[no_mangle]
pub unsafe extern "C" fn glue_template_render(
    template: *const GlueTemplate,
    context: *const u8,
    context_n: usize,
    output_max: usize,
    clock: ClockFn,
    clock_context: *mut c_void,
    out: *mut GlueText,
) -> GlueResult {
    let template = &*template;
    let context = bytes_of(context, context_n);
    let clock = Clock { function: clock, context: clock_context as usize };
    let rendered = catch_unwind(AssertUnwindSafe(|| render(template, context, output_max, clock)))
        .unwrap_or_else(|_| Err(Failure::Failed(say(&Lost::Panicked))));
    let (result, bytes) = match rendered {
        Ok(bytes) => (GlueResult::Ok, bytes),
        Err(Failure::Raised(text)) => (GlueResult::Raised, text.into_bytes()),
        Err(Failure::Failed(text)) => (GlueResult::Failed, text.into_bytes()),
    };
    put(out, bytes);
    result
}

/// # Safety
/// text was filled by this library, or is zeroed; it is zeroed again.
#[no_mangle]
pub unsafe extern "C" fn glue_text_free(text: *mut GlueText) {
    let text = std::mem::replace(&mut *text, GlueText { s: std::ptr::null_mut(), n: 0 });
    if !text.s.is_null() {
        drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(text.s, text.n)));
    }
}
