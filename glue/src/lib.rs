//! The C ABI of pensieve_glue.h. Nothing here may unwind into C: a panic becomes an error.

mod json;
mod python;
mod template;

use std::ffi::c_void;
use std::panic::{catch_unwind, AssertUnwindSafe};
use template::{Clock, ClockFn, Failure, Template};

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

/// A hostile template nests values as deep as its fuel allows, and dropping them recurses.
const STACK_BYTES: usize = 256 << 20;

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

/// Runs f on a thread of its own, whose stack is reserved but not used up by ordinary templates.
fn on_deep_stack<T: Send>(f: impl FnOnce() -> T + Send) -> Result<T, String> {
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, || catch_unwind(AssertUnwindSafe(f)).ok())
            .map_err(|error| format!("no thread for the template: {error}"))?
            .join()
            .ok()
            .flatten()
            .ok_or_else(|| "the template engine failed".to_string())
    })
}

/// A panic says what it was through the error it becomes, not on standard error.
fn keep_quiet() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| std::panic::set_hook(Box::new(|_| {})));
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
) -> *mut Template {
    let text = |s, n| std::str::from_utf8(bytes_of(s, n)).map_err(|_| "it is not valid UTF-8".to_string());
    let made = catch_unwind(|| {
        keep_quiet();
        let (source, bos, eos) = (text(source, source_n)?, text(bos, bos_n)?, text(eos, eos_n)?);
        on_deep_stack(|| Template::new(source, bos, eos))?
    });
    match made.unwrap_or_else(|_| Err("the template engine failed".into())) {
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
pub unsafe extern "C" fn glue_template_free(template: *mut Template) {
    if !template.is_null() {
        let template = Box::from_raw(template);
        let _ = catch_unwind(AssertUnwindSafe(|| drop(template)));
    }
}

/// # Safety
/// As pensieve_glue.h says.
#[no_mangle]
pub unsafe extern "C" fn glue_template_render(
    template: *const Template,
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
    let rendered = catch_unwind(AssertUnwindSafe(|| {
        on_deep_stack(move || template.render(context, output_max, clock))
    }));
    let (result, bytes) = match rendered {
        Ok(Ok(Ok(bytes))) => (GlueResult::Ok, bytes),
        Ok(Ok(Err(Failure::Raised(text)))) => (GlueResult::Raised, text.into_bytes()),
        Ok(Ok(Err(Failure::Failed(text)))) | Ok(Err(text)) => (GlueResult::Failed, text.into_bytes()),
        Err(_) => (GlueResult::Failed, b"the template engine failed".to_vec()),
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
