//! The C ABI of pensieve_grammar.h. Nothing here may unwind into C: a panic becomes an error.

use crate::budget::{self, Lost};
use crate::grammar::{Grammar, Kind, Language, Part, Refused, Run, Vocab};
use crate::{bytes_of, keep_quiet, put, say, GlueText};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::Arc;

/// What compiling may have in memory at a time.
const MEMORY_MAX: usize = 256 << 20;
/// Threads that used up their budget and stay for good: after so many nothing is compiled any more.
const LOST_MAX: usize = 8;
static LOST: AtomicUsize = AtomicUsize::new(0);

#[repr(C)]
pub struct GlueToken {
    s: *const u8,
    n: usize,
    kind: u32,
}

#[repr(C)]
pub struct GluePart {
    language: u32,
    name: *const u8,
    name_n: usize,
    text: *const u8,
    text_n: usize,
    loose: bool,
}

pub struct GlueVocab(Arc<Vocab>);

pub struct GlueGrammar {
    grammar: Grammar,
    bytes: usize,
}

pub struct GlueMatcher(Run);

#[repr(C)]
pub enum GlueStep {
    GoesOn = 0,
    Complete = 1,
    Broken = 2,
}

fn panicked<T>() -> Result<T, String> {
    Err("the grammar engine failed".into())
}

/// # Safety
/// As pensieve_grammar.h says.
#[no_mangle]
pub unsafe extern "C" fn glue_vocab_new(tokens: *const GlueToken, n: usize, error: *mut GlueText) -> *mut GlueVocab {
    let tokens = std::slice::from_raw_parts(tokens, n);
    let made = catch_unwind(|| {
        keep_quiet();
        Vocab::new(tokens.iter().map(|token| {
            let kind = [Kind::Text, Kind::Control, Kind::End].into_iter().nth(token.kind as usize);
            (bytes_of(token.s, token.n).to_vec(), kind.unwrap_or(Kind::Control))
        }))
    });
    match made.unwrap_or_else(|_| panicked()) {
        Ok(vocab) => Box::into_raw(Box::new(GlueVocab(Arc::new(vocab)))),
        Err(text) => {
            put(error, text.into_bytes());
            std::ptr::null_mut()
        }
    }
}

/// # Safety
/// vocab comes from glue_vocab_new and is not used again; NULL is allowed.
#[no_mangle]
pub unsafe extern "C" fn glue_vocab_free(vocab: *mut GlueVocab) {
    if !vocab.is_null() {
        let vocab = Box::from_raw(vocab);
        let _ = catch_unwind(AssertUnwindSafe(|| drop(vocab)));
    }
}

fn parts_of(parts: &[GluePart]) -> Result<Vec<Part>, Refused> {
    let part_of = |(i, part): (usize, &GluePart)| {
        // SAFETY: pensieve_grammar.h asks for both.
        let (name, text) = unsafe { (bytes_of(part.name, part.name_n), bytes_of(part.text, part.text_n)) };
        let utf8 = |bytes: &[u8]| String::from_utf8(bytes.to_vec());
        let refused = |_| Refused { part: i, text: "it is not valid UTF-8".into() };
        let language = match part.language {
            0 => Language::JsonSchema,
            1 => Language::Lark,
            _ => Language::Regex,
        };
        let (name, text) = (utf8(name).map_err(refused)?, utf8(text).map_err(refused)?);
        Ok(Part { language, name, text, loose: part.loose })
    };
    parts.iter().enumerate().map(part_of).collect()
}

fn compile(vocab: &GlueVocab, parts: &[GluePart], spaced: bool) -> Result<GlueGrammar, Refused> {
    let refused = |text: String| Refused { part: 0, text };
    let parts = parts_of(parts)?;
    if LOST.load(Relaxed) >= LOST_MAX {
        return Err(refused("too many grammars took too much memory or time before".into()));
    }
    let vocab = vocab.0.clone();
    let (made, bytes) = budget::run_measured(MEMORY_MAX, move || Grammar::new(&vocab, &parts, spaced))
        .map_err(|lost| {
            LOST.fetch_add(usize::from(matches!(lost, Lost::Spent)), Relaxed);
            refused(say(&lost))
        })?;
    Ok(GlueGrammar { grammar: made?, bytes })
}

fn lines(loosened: &[(usize, String)]) -> String {
    loosened.iter().map(|(part, pointer)| format!("{part} {pointer}\n")).collect()
}

/// # Safety
/// As pensieve_grammar.h says.
#[no_mangle]
pub unsafe extern "C" fn glue_grammar_new(
    vocab: *const GlueVocab,
    parts: *const GluePart,
    parts_n: usize,
    spaced: bool,
    loosened: *mut GlueText,
    refused_part: *mut usize,
    error: *mut GlueText,
) -> *mut GlueGrammar {
    let (vocab, parts) = (&*vocab, std::slice::from_raw_parts(parts, parts_n));
    let made = catch_unwind(AssertUnwindSafe(|| compile(vocab, parts, spaced)));
    match made.unwrap_or_else(|_| panicked().map_err(|text| Refused { part: 0, text })) {
        Ok(grammar) => {
            put(loosened, lines(&grammar.grammar.loosened).into_bytes());
            Box::into_raw(Box::new(grammar))
        }
        Err(refused) => {
            *refused_part = refused.part;
            put(error, refused.text.into_bytes());
            std::ptr::null_mut()
        }
    }
}

/// # Safety
/// grammar comes from glue_grammar_new.
#[no_mangle]
pub unsafe extern "C" fn glue_grammar_bytes(grammar: *const GlueGrammar) -> usize {
    (*grammar).bytes
}

/// # Safety
/// grammar comes from glue_grammar_new and is not used again; NULL is allowed.
#[no_mangle]
pub unsafe extern "C" fn glue_grammar_free(grammar: *mut GlueGrammar) {
    if !grammar.is_null() {
        let grammar = Box::from_raw(grammar);
        let _ = catch_unwind(AssertUnwindSafe(|| drop(grammar)));
    }
}

/// # Safety
/// As pensieve_grammar.h says.
#[no_mangle]
pub unsafe extern "C" fn glue_matcher_new(grammar: *const GlueGrammar, error: *mut GlueText) -> *mut GlueMatcher {
    let grammar = &(*grammar).grammar;
    let made = catch_unwind(AssertUnwindSafe(|| grammar.start()));
    match made.unwrap_or_else(|_| panicked()) {
        Ok(run) => Box::into_raw(Box::new(GlueMatcher(run))),
        Err(text) => {
            put(error, text.into_bytes());
            std::ptr::null_mut()
        }
    }
}

/// # Safety
/// matcher comes from glue_matcher_new and is not used again; NULL is allowed.
#[no_mangle]
pub unsafe extern "C" fn glue_matcher_free(matcher: *mut GlueMatcher) {
    if !matcher.is_null() {
        let matcher = Box::from_raw(matcher);
        let _ = catch_unwind(AssertUnwindSafe(|| drop(matcher)));
    }
}

/// # Safety
/// As pensieve_grammar.h says.
#[no_mangle]
pub unsafe extern "C" fn glue_matcher_mask(
    matcher: *mut GlueMatcher,
    words_n: *mut usize,
    error: *mut GlueText,
) -> *const u32 {
    let run = &mut (*matcher).0;
    let masked = catch_unwind(AssertUnwindSafe(|| run.mask().map(|words| (words.as_ptr(), words.len()))));
    match masked.unwrap_or_else(|_| panicked()) {
        Ok((words, n)) => {
            *words_n = n;
            words
        }
        Err(text) => {
            put(error, text.into_bytes());
            std::ptr::null()
        }
    }
}

/// # Safety
/// As pensieve_grammar.h says.
#[no_mangle]
pub unsafe extern "C" fn glue_matcher_take(matcher: *mut GlueMatcher, token: u32, error: *mut GlueText) -> GlueStep {
    let run = &mut (*matcher).0;
    match catch_unwind(AssertUnwindSafe(|| run.take(token))).unwrap_or_else(|_| panicked()) {
        Ok(complete) => [GlueStep::GoesOn, GlueStep::Complete].into_iter().nth(complete.into()).unwrap(),
        Err(text) => {
            put(error, text.into_bytes());
            GlueStep::Broken
        }
    }
}

/// # Safety
/// As pensieve_grammar.h says.
#[no_mangle]
pub unsafe extern "C" fn glue_matcher_close(matcher: *const GlueMatcher, tokens: *mut u32, tokens_max: usize) -> isize {
    let run = &(*matcher).0;
    let closed = catch_unwind(AssertUnwindSafe(|| run.close(tokens_max)));
    let Ok(Some(closing)) = closed else { return -1 };
    std::ptr::copy_nonoverlapping(closing.as_ptr(), tokens, closing.len());
    closing.len() as isize
}
