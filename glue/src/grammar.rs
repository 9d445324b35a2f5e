//! Grammars over a vocabulary, through llguidance: compiled once, then matched token by token.
//!
//! The hard thing is what a hostile grammar costs. Compiling runs on a thread of its own under a
//! budget of memory and time (`budget`); what a mask may cost later is bounded by fuel.

use crate::schema;
use llguidance::api::{GrammarWithLexer, ParserLimits, StopReason, TopLevelGrammar};
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, SimpleVob, TokEnv, TokRxInfo, TokTrie};
use llguidance::{regex_to_lark, JsonCompileOptions, Matcher, ParserFactory};
use serde_json::Value;
use std::sync::{Arc, Mutex};

/// Between the parts of a JSON text: nothing, a space, or a new line and its indentation. A model
/// that may write any white space can write nothing else for ever.
const WHITE_SPACE: &str = r" |\r?\n[ \t]{0,64}";

/// A lexer state is 1 to 2 KiB; these are shared by all sequences of a grammar.
const LEXER_STATES_MAX: usize = 30_000;
/// About 10 ms of building, and 7 ms of one mask.
const LEXER_FUEL: u64 = 500_000;
const STEP_FUEL: u64 = 100_000;
const GRAMMAR_SYMBOLS_MAX: usize = 200_000;

/// Bytes that stand in no text: the trie's mark for tokens that are found by their name alone.
const MARK: u8 = TokTrie::SPECIAL_TOKEN_MARKER;
const TOKEN_BYTES_MAX: usize = 1024;

pub enum Kind {
    Text,
    Control,
    End,
}

pub struct Vocab {
    factory: ParserFactory,
}

impl Vocab {
    pub fn new(tokens: impl ExactSizeIterator<Item = (Vec<u8>, Kind)>) -> Result<Vocab, String> {
        let mut words = Vec::with_capacity(tokens.len());
        let mut ends = Vec::new();
        for (id, (bytes, kind)) in tokens.enumerate() {
            let usable = bytes.len() <= TOKEN_BYTES_MAX && bytes.first() != Some(&MARK);
            words.push(match kind {
                Kind::Text if usable => bytes,
                Kind::Text => Vec::new(),
                Kind::Control | Kind::End => [vec![MARK], bytes].concat(),
            });
            if matches!(kind, Kind::End) {
                ends.push(id as u32);
            }
        }
        let Some(&end) = ends.first() else { return Err("no token ends a turn".into()) };
        let trie = TokTrie::from(&TokRxInfo::new(words.len() as u32, end), &words).with_eos_tokens(&ends);
        let env: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let mut factory = ParserFactory::new(&env, InferenceCapabilities::default(), &slices())
            .map_err(|error| error.to_string())?;
        factory.quiet();
        *factory.limits_mut() = ParserLimits {
            max_lexer_states: LEXER_STATES_MAX,
            initial_lexer_fuel: LEXER_FUEL,
            step_lexer_fuel: STEP_FUEL,
            max_grammar_size: GRAMMAR_SYMBOLS_MAX,
            verbose_errors: false,
            ..ParserLimits::default()
        };
        Ok(Vocab { factory })
    }

    fn matcher(&self, parts: Vec<GrammarWithLexer>) -> Result<Matcher, String> {
        let grammar = TopLevelGrammar { grammars: parts, max_tokens: None };
        let parser = self.factory.create_parser(grammar).map_err(|error| first_line(&format!("{error:#}")))?;
        let matcher = Matcher::new(Ok(parser));
        match matcher.get_error() {
            Some(error) => Err(first_line(&error)),
            None => Ok(matcher),
        }
    }
}

/// Parts of the vocabulary whose masks are known beforehand: tokens that a string takes whatever they
/// are, if it has room for so many characters (the last: for any number).
fn slices() -> Vec<String> {
    let inside = r#"[^"\\\x00-\x1F\x7F]"#;
    [2, 4, 7, 10, 16, 30].iter().map(|n| format!("{inside}{{1,{n}}}")).chain([format!("{inside}+")]).collect()
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_string()
}

pub enum Language {
    JsonSchema,
    Lark,
    Regex,
}

/// One grammar of a set; the first is where text begins, and refers to the others by `@name`.
pub struct Part {
    pub language: Language,
    pub name: String,
    pub text: String,
    /// A JSON Schema that becomes ANY where it would be an error.
    pub loose: bool,
}

/// What a loose schema becomes.
const ANY: &str = r#"{"type": "object"}"#;

/// Why there is no grammar: the part to blame, and what is wrong with it.
pub struct Refused {
    pub part: usize,
    pub text: String,
}

pub struct Grammar {
    start: Mutex<Matcher>,
    pub loosened: Loosened,
}

fn with_options(mut schema: Value) -> Value {
    let options = JsonCompileOptions {
        whitespace_flexible: false,
        whitespace_pattern: Some(WHITE_SPACE.to_string()),
        ..JsonCompileOptions::default()
    };
    options.apply_to(&mut schema);
    schema
}

/// The API's words for what is wrong with a schema.
fn wording(reason: &str) -> String {
    match ["too big", "too large", "too complex", "level exceeded"].iter().any(|words| reason.contains(words)) {
        true => "Schema is too complex for compilation.".into(),
        false => format!("JSON schema is invalid: {reason}"),
    }
}

fn json_grammar(part: &Part, schema: &Value) -> GrammarWithLexer {
    GrammarWithLexer {
        name: Some(part.name.clone()),
        json_schema: Some(with_options(schema.clone())),
        ..GrammarWithLexer::default()
    }
}

/// vocab None: what the compiler makes of the schema is not tried out.
fn json_part(vocab: Option<&Vocab>, part: &Part) -> Result<(GrammarWithLexer, Vec<String>), String> {
    let mut schema: Value = serde_json::from_str(&part.text).map_err(|error| wording(&error.to_string()))?;
    if !schema.is_object() {
        return Err(wording("it is not an object"));
    }
    schema.as_object_mut().map(|map| map.shift_remove("x-guidance"));    // options are ours to set
    let compiles = |schema: &Value| match vocab {
        Some(vocab) => vocab.matcher(vec![json_grammar(part, schema)]).map(drop),
        None => Ok(()),
    };
    let (schema, pointers) = schema::loosen(&schema, compiles).map_err(|reason| wording(&reason))?;
    Ok((json_grammar(part, &schema), pointers))
}

fn any_part(part: &Part) -> Result<GrammarWithLexer, String> {
    let schema = serde_json::from_str(ANY).map_err(|error| error.to_string())?;
    Ok(json_grammar(part, &schema))
}

fn lark_part(part: &Part) -> GrammarWithLexer {
    let lark = match part.language {
        Language::Regex => format!("start: /{}/", regex_to_lark(&part.text, "")),
        _ => part.text.clone(),
    };
    GrammarWithLexer { name: Some(part.name.clone()), lark_grammar: Some(lark), ..GrammarWithLexer::default() }
}

/// Of each keyword that is not enforced: the number of its part, and a pointer.
pub type Loosened = Vec<(usize, String)>;

fn grammars_of(vocab: Option<&Vocab>, parts: &[Part]) -> Result<(Vec<GrammarWithLexer>, Loosened), Refused> {
    let mut loosened = Vec::new();
    let mut grammar_of = |(i, part): (usize, &Part)| {
        if !matches!(part.language, Language::JsonSchema) {
            return Ok(lark_part(part));
        }
        let (grammar, pointers) = json_part(vocab, part)
            .or_else(|text| match part.loose {
                true => Ok((any_part(part)?, vec![String::new()])),
                false => Err(text),
            })
            .map_err(|text| Refused { part: i, text })?;
        loosened.extend(pointers.into_iter().map(|pointer| (i, pointer)));
        Ok(grammar)
    };
    let grammars = parts.iter().enumerate().map(&mut grammar_of).collect::<Result<_, _>>()?;
    Ok((grammars, loosened))
}

impl Grammar {
    /// spaced: the first token of a text may begin with a space that its reader drops.
    pub fn new(vocab: &Vocab, parts: &[Part], spaced: bool) -> Result<Grammar, Refused> {
        let spaces = spaced.then(|| {
            let lark = format!("start: @{0} | \" \" @{0}", parts[0].name);
            GrammarWithLexer { name: Some("spaced".into()), ..GrammarWithLexer::from_lark(lark) }
        });
        let compile = |grammars: &[GrammarWithLexer]| {
            vocab.matcher(spaces.iter().chain(grammars).cloned().collect())
        };
        let made = |start, loosened| Ok(Grammar { start: Mutex::new(start), loosened });

        // Mostly all is well, and then nothing is compiled twice.
        let (grammars, loosened) = grammars_of(None, parts)?;
        if let Ok(start) = compile(&grammars) {
            return made(start, loosened);
        }
        let (mut grammars, mut loosened) = grammars_of(Some(vocab), parts)?;
        let mut loose: Vec<usize> = (0..parts.len()).filter(|&i| parts[i].loose).collect();
        loose.sort_by_key(|&i| std::cmp::Reverse(parts[i].text.len()));
        loop {
            let refused = |text| Refused { part: 0, text };
            match compile(&grammars) {
                Ok(start) => return made(start, loosened),
                Err(text) if loose.is_empty() => return Err(refused(text)),
                Err(_) => {}
            }
            // Too much in all: the larger half of what is loose goes.
            for i in loose.drain(..loose.len().div_ceil(2)) {
                grammars[i] = any_part(&parts[i]).map_err(refused)?;
                loosened.retain(|(part, _)| *part != i);
                loosened.push((i, String::new()));
            }
        }
    }

    pub fn start(&self) -> Result<Run, String> {
        let matcher = self.start.lock().map_err(|_| "the grammar failed before".to_string())?.clone();
        Ok(Run { matcher, mask: SimpleVob::new(), quotes: Quotes::default() })
    }
}

/// Whether a JSON text stands inside a string, byte by byte.
#[derive(Clone, Copy, Default)]
struct Quotes {
    inside: bool,
    escaped: bool,
}

impl Quotes {
    fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = self.inside,
                b'"' => self.inside = !self.inside,
                _ => {}
            }
        }
    }
}

/// One text on its way through a grammar.
pub struct Run {
    matcher: Matcher,
    mask: SimpleVob,
    quotes: Quotes,
}

/// What ends JSON soonest, tried in this order, outside a string and in one; the last of each are
/// the beginnings of a value, and what most patterns and lengths take.
const CLOSERS: [&[u8]; 10] = [b"}", b"]", b"0", b"1", b"\"", b":", b",", b"n", b"{", b"["];
const CLOSERS_INSIDE: [&[u8]; 4] = [b"\"", b"a", b"0", b"-"];
/// A token of a word that has begun: long ones make fewer, but not of white space.
const CLOSING_BYTES_MAX: usize = 16;
/// Masks are costly where nothing of that fits: a way that needs more of them is not found.
const CLOSING_MASKS_MAX: usize = 32;

impl Run {
    fn check(&self) -> Result<(), String> {
        self.matcher.get_error().map_or(Ok(()), |error| Err(first_line(&error)))
    }

    /// One bit a token, lowest first in each word.
    pub fn mask(&mut self) -> Result<&[u32], String> {
        self.mask = self.matcher.compute_mask_or_eos().map_err(|error| first_line(&error.to_string()))?;
        Ok(self.mask.as_slice())
    }

    /// true: the text is complete, and nothing can follow.
    pub fn take(&mut self, token: u32) -> Result<bool, String> {
        self.matcher.consume_token(token).map_err(|error| first_line(&error.to_string()))?;
        self.check()?;
        self.quotes.push(self.matcher.tok_env().map_err(|error| error.to_string())?.tok_trie().token(token));
        Ok(self.matcher.stop_reason() != StopReason::NotStopped)
    }

    /// Tokens after which the text is complete, at most so many; None: not found.
    pub fn close(&self, tokens_max: usize) -> Option<Vec<u32>> {
        let mut matcher = self.matcher.clone();
        let env = matcher.tok_env().ok()?;
        let trie = env.tok_trie();
        let ids = |list: &[&[u8]]| list.iter().filter_map(|bytes| trie.token_id(bytes)).collect::<Vec<u32>>();
        let closers = [ids(&CLOSERS), ids(&CLOSERS_INSIDE)];
        let (mut out, mut quotes, mut masks) = (Vec::new(), self.quotes, 0);
        loop {
            if matcher.is_stopped() || matcher.is_accepting().ok()? {
                return Some(out);
            }
            if out.len() == tokens_max {
                return None;
            }
            let forced = matcher.clone().compute_ff_bytes();
            let tokens = match trie.greedy_tokenize(&forced) {
                tokens if !tokens.is_empty() => tokens,
                _ => vec![next_closing(&mut matcher, trie, &closers[usize::from(quotes.inside)], &mut masks)?],
            };
            for &token in tokens.iter().take(tokens_max - out.len()) {
                matcher.consume_token(token).ok()?;
                quotes.push(trie.token(token));
                out.push(token);
            }
        }
    }
}

fn next_closing(matcher: &mut Matcher, trie: &TokTrie, closers: &[u32], masks: &mut usize) -> Option<u32> {
    for &token in closers {
        if matcher.validate_tokens(&[token]).ok()? == 1 {
            return Some(token);
        }
    }
    *masks += 1;
    if *masks > CLOSING_MASKS_MAX {
        return None;
    }
    let mask = matcher.compute_mask().ok()?;
    let mut best: Option<(usize, u32)> = None;
    mask.iter_set_entries(|id| {
        let bytes = trie.token(id as u32);
        let length = bytes.len();
        let solid = length > 0 && length <= CLOSING_BYTES_MAX && bytes.iter().all(|b| b.is_ascii_graphic());
        if solid && best.is_none_or(|(longest, _)| length > longest) {
            best = Some((length, id as u32));
        }
    });
    best.map(|(_, token)| token).or_else(|| mask.first_bit_set().map(|id| id as u32))
}
