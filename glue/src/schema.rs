//! What of a JSON Schema can't be enforced, found and taken out of it, keyword by keyword.
//!
//! Some keywords no grammar of ours covers: a table says which. Others depend on what stands beside
//! them (a pattern with a look-ahead, a oneOf whose options overlap): only compiling tells. The hard
//! thing is to blame the right one. When a schema doesn't compile, every keyword that could be the
//! reason is taken out, and then put back one at a time, as long as it still compiles.

use serde_json::{Map, Value};

/// Keywords that constrain a value and that the compiler has no rules for.
const UNKNOWN: [&str; 18] = [
    "$dynamicRef", "$recursiveRef", "contains", "dependencies", "dependentRequired", "dependentSchemas",
    "else", "if", "maxContains", "minContains", "not", "propertyNames", "then", "unevaluatedItems",
    "unevaluatedProperties", "uniqueItems", "$recursiveAnchor", "$dynamicAnchor",
];

/// Those that it has rules for, with exceptions.
const SUSPECTS: [&str; 14] = [
    "oneOf", "pattern", "patternProperties", "$ref", "multipleOf", "minProperties", "maxProperties",
    "minLength", "maxLength", "minItems", "maxItems", "allOf", "enum", "const",
];

const FORMATS: [&str; 11] = [
    "date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "unknown", "uri", "uuid",
];

/// Where schemas lie inside a schema.
const ONE: [&str; 4] = ["additionalItems", "additionalProperties", "items", "contains"];
const LISTS: [&str; 5] = ["allOf", "anyOf", "items", "oneOf", "prefixItems"];
const MAPS: [&str; 4] = ["$defs", "definitions", "patternProperties", "properties"];

/// Compilations spent on one schema at most: what is left taken out then, stays out.
const TRIES_MAX: usize = 64;

/// A keyword in a schema: the path of its object, and its name.
#[derive(Clone)]
struct Site {
    path: Vec<String>,
    keyword: String,
}

impl Site {
    fn pointer(&self) -> String {
        let step = |s: &String| format!("/{}", s.replace('~', "~0").replace('/', "~1"));
        self.path.iter().chain([&self.keyword]).map(step).collect()
    }

    fn parent<'a>(&self, root: &'a mut Value) -> Option<&'a mut Map<String, Value>> {
        let mut at = root;
        for step in &self.path {
            at = match at {
                Value::Object(map) => map.get_mut(step)?,
                Value::Array(list) => list.get_mut(step.parse::<usize>().ok()?)?,
                _ => return None,
            };
        }
        at.as_object_mut()
    }

    /// A oneOf still says that one of its options holds, if not that only one does.
    fn loosen(&self, root: &mut Value) {
        let Some(map) = self.parent(root) else { return };
        let removed = map.shift_remove(&self.keyword);
        if self.keyword == "oneOf" && !map.contains_key("anyOf") {
            map.extend(removed.map(|options| ("anyOf".to_string(), options)));
        }
    }
}

fn is_text_schema(value: &Value) -> bool {
    value.as_object().is_some_and(|map| map.len() == 1 && map.get("type").is_some_and(|t| t == "string"))
}

/// Whether it says nothing, as generators of schemas write it.
fn is_idle(keyword: &str, value: &Value, map: &Map<String, Value>) -> bool {
    match keyword {
        "uniqueItems" => value == false,
        "unevaluatedItems" | "unevaluatedProperties" => value == true,
        "propertyNames" => value == true || is_text_schema(value),
        "then" | "else" => !map.contains_key("if"),
        "$recursiveAnchor" | "$dynamicAnchor" => true,
        _ => false,
    }
}

fn walk(value: &Value, path: &mut Vec<String>, visit: &mut impl FnMut(&[String], &Map<String, Value>)) {
    let Some(map) = value.as_object() else { return };
    visit(path, map);
    for (key, child) in map {
        path.push(key.clone());
        match child {
            Value::Object(children) if MAPS.contains(&key.as_str()) => {
                for (name, schema) in children {
                    path.push(name.clone());
                    walk(schema, path, visit);
                    path.pop();
                }
            }
            Value::Object(_) if ONE.contains(&key.as_str()) => walk(child, path, visit),
            Value::Array(children) if LISTS.contains(&key.as_str()) => {
                for (i, schema) in children.iter().enumerate() {
                    path.push(i.to_string());
                    walk(schema, path, visit);
                    path.pop();
                }
            }
            _ => {}
        }
        path.pop();
    }
}

fn sites(schema: &Value, mut wanted: impl FnMut(&str, &Value, &Map<String, Value>) -> bool) -> Vec<Site> {
    let mut found = Vec::new();
    walk(schema, &mut Vec::new(), &mut |path, map| {
        for (keyword, value) in map {
            if wanted(keyword, value, map) {
                found.push(Site { path: path.to_vec(), keyword: keyword.clone() });
            }
        }
    });
    found
}

fn is_unknown(keyword: &str, value: &Value) -> bool {
    UNKNOWN.contains(&keyword) || (keyword == "format" && !value.as_str().is_some_and(|f| FORMATS.contains(&f)))
}

/// Inner objects first, so that the paths of the outer ones still lead somewhere.
fn without(schema: &Value, out: &[Site]) -> Value {
    let mut copy = schema.clone();
    for site in out.iter().rev() {
        site.loosen(&mut copy);
    }
    copy
}

/// The schema as far as it can be enforced, and pointers to the keywords that are left out of it.
/// compiles: whether the compiler takes a schema, and why not.
pub fn loosen(
    schema: &Value,
    mut compiles: impl FnMut(&Value) -> Result<(), String>,
) -> Result<(Value, Vec<String>), String> {
    let unknown = sites(schema, |keyword, value, _| is_unknown(keyword, value));
    let base = without(schema, &unknown);
    let mut pointers: Vec<String> = sites(schema, |keyword, value, map| {
        is_unknown(keyword, value) && !is_idle(keyword, value, map)
    })
    .iter()
    .map(Site::pointer)
    .collect();

    let Err(reason) = compiles(&base) else { return Ok((base, pointers)) };
    let mut out = sites(&base, |keyword, _, _| SUSPECTS.contains(&keyword));
    if out.is_empty() || compiles(&without(&base, &out)).is_err() {
        return Err(reason);
    }
    let mut i = 0;
    for _ in 0..TRIES_MAX {
        if i == out.len() {
            break;
        }
        let mut fewer = out.clone();
        fewer.remove(i);
        match compiles(&without(&base, &fewer)) {
            Ok(()) => out = fewer,
            Err(_) => i += 1,
        }
    }
    pointers.extend(out.iter().map(Site::pointer));
    Ok((without(&base, &out), pointers))
}
