//! What is looked at, and changed, in a template's source before it is compiled.

/// An expression's tree is as deep as the expression is long, and is walked recursively.
const TAG_BYTES_MAX: usize = 8 << 10;

pub fn prepare(source: &str) -> Result<String, String> {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");     // as jinja2's lexer does
    let tags: Vec<&str> = tags(&source).map(|(_, tag)| tag).collect();
    if tags.iter().any(|tag| tag.len() > TAG_BYTES_MAX) {
        return Err(format!("a tag is longer than {TAG_BYTES_MAX} bytes"));
    }
    check_namespaces(&tags)?;
    Ok(without_generation_tags(&source))
}

/// The insides of all `{% %}` and `{{ }}`, and where they begin; one without an end goes to the end of
/// the source. Tags in comments and raw blocks are among them, which does no harm.
fn tags(source: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || loop {
        at += source[at..].find('{')? + 1;
        let close = match source.as_bytes().get(at) {
            Some(b'%') => "%}",
            Some(b'{') => "}}",
            _ => continue,
        };
        let begin = at + 1;
        let n = source[begin..].find(close).unwrap_or(source.len() - begin);
        at = begin + n;
        return Some((begin, &source[begin..at]));
    })
}

/// `{% generation %}` marks what a model is trained on and prints its body; minijinja has no such tag,
/// so it becomes an `if true`, which trims white space the same way.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut copied = 0;

    for (begin, tag) in tags(source) {
        let word = tag.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        let other = match word {
            "generation" => "if true",
            "endgeneration" => "endif",
            _ => continue,
        };
        out.push_str(&source[copied..begin]);
        out.push_str(&tag.replace(word, other));
        copied = begin + tag.len();
    }
    out.push_str(&source[copied..]);
    out
}

/// A namespace is the only thing a template can put into itself, and printing that never ends. So one
/// is only ever made as `set NAME = namespace(...)`, and NAME only stands before an attribute.
fn check_namespaces(tags: &[&str]) -> Result<(), String> {
    let lexed: Vec<Vec<&str>> = tags.iter().map(|tag| lex(tag)).collect();
    let made = |words: &[&str], i: usize| {
        i == 3 && words[0] == "set" && words[2] == "=" && words.get(4) == Some(&"(")
    };
    let mut names = std::collections::HashSet::new();

    for words in &lexed {
        for (i, word) in words.iter().enumerate() {
            if *word != "namespace" || i.checked_sub(1).is_some_and(|before| words[before] == ".") {
                continue;
            }
            if !made(words, i) {
                return Err("namespace() is only supported as {% set name = namespace(...) %}".into());
            }
            names.insert(words[1]);
        }
    }
    for words in &lexed {
        for (i, word) in words.iter().enumerate() {
            let attribute = i > 0 && words[i - 1] == ".";
            let keyword = words.get(i + 1) == Some(&"=") && i > 0 && matches!(words[i - 1], "(" | ",");
            if !names.contains(word) || attribute || keyword || (i == 1 && made(words, 3)) {
                continue;
            }
            if !matches!(words.get(i + 1), Some(&".") | Some(&"[")) {
                return Err(format!("the namespace {word} is used other than by its attributes"));
            }
        }
    }
    Ok(())
}

/// Names and numbers as words, every other character by itself; strings as one quote.
fn lex(tag: &str) -> Vec<&str> {
    let bytes = tag.as_bytes();
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b >= 0x80;
    let mut out = Vec::new();
    let mut at = tag.len() - tag.trim_start_matches(['-', '+']).len();

    while at < bytes.len() {
        let begin = at;
        let first = bytes[at];
        at += 1;
        if word(first) {
            while at < bytes.len() && word(bytes[at]) {
                at += 1;
            }
        } else if first == b'"' || first == b'\'' {
            while at < bytes.len() && bytes[at] != first {
                at += if bytes[at] == b'\\' { 2 } else { 1 };
            }
            at += 1;
            out.push(&tag[begin..begin + 1]);
            continue;
        } else if first.is_ascii_whitespace() {
            continue;
        }
        out.push(&tag[begin..at]);
    }
    out
}
