//! The settings that a CALL of the central system names: its station's answer may name them again.

use crate::ocpp::json::{Cursor, Shape, Unreadable};
use std::collections::HashSet;

/// Names of settings remembered of one CALL, each once. Stations report far smaller limits on the items of a message.
const MAX_ASKED: usize = 1024;

/// Their bytes together, and so what a pending CALL keeps at most.
const MAX_BYTES: usize = 16 * 1024;

/// The longest name that is remembered, in bytes; the standard's longest names have 50 characters, and a longer one never comes back up.
const LONGEST_ASKED: usize = 128;

/// The settings that a CALL named.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// With [`END`] behind each.
    names: Box<str>,
}

/// What no name has in it that may come back up.
const END: char = '\0';

impl Asked {
    /// Whether it named this one, in any case.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.names.split_terminator(END).any(|asked| asked.eq_ignore_ascii_case(name))
    }
}

/// The names of settings in a CALL of the central system: its `name`, `instance` and `key` members. `None` if there are more than can be remembered:
/// whether one that is not comes back would depend on what cards are in use, which the central system must not learn (I5).
pub(crate) fn asked(payload: Cursor<'_>) -> Option<Asked> {
    fn walk(cursor: &mut Cursor<'_>, named: bool, found: &mut HashSet<String>) -> Result<(), Unreadable> {
        match cursor.shape()? {
            Shape::Object => {
                cursor.enter()?;
                if !cursor.take(b'}') {
                    loop {
                        let key = cursor.string()?;
                        let named = matches!(&*cursor.content(&key), "name" | "instance" | "key");
                        cursor.take(b':');
                        walk(cursor, named, found)?;
                        if !cursor.take(b',') {
                            cursor.take(b'}');
                            break;
                        }
                    }
                }
                cursor.leave();
            }
            Shape::Array => {
                cursor.enter()?;
                if !cursor.take(b']') {
                    loop {
                        walk(cursor, named, found)?;
                        if !cursor.take(b',') {
                            cursor.take(b']');
                            break;
                        }
                    }
                }
                cursor.leave();
            }
            Shape::String => {
                let token = cursor.string()?;
                let name = cursor.content(&token);
                if named && token.span.len() <= LONGEST_ASKED && !name.contains(END) {
                    found.insert(name.to_ascii_lowercase());
                }
            }
            _ => {
                cursor.skip()?;
            }
        }
        Ok(())
    }
    let mut found = HashSet::new();
    let mut payload = payload;
    // What cannot be read was refused before.
    let _ = walk(&mut payload, false, &mut found);
    let bytes: usize = found.iter().map(|name| name.len() + END.len_utf8()).sum();
    (found.len() <= MAX_ASKED && bytes <= MAX_BYTES).then(|| {
        let mut names = String::with_capacity(bytes);
        found.iter().for_each(|name| names.extend([name.as_str(), "\0"]));
        Asked { names: names.into() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(names: &[String]) -> Option<Asked> {
        asked(Cursor::new(&serde_json::json!({ "key": names, "value": "other" }).to_string()))
    }

    #[test]
    fn each_name_counts_once_and_one_more_than_the_bound_is_told() {
        let names: Vec<String> = (0..MAX_ASKED).map(|n| format!("Key{n}")).collect();
        let all = asks(&[&names[..], &names[..]].concat()).unwrap();
        assert!(names.iter().all(|name| all.has(&name.to_ascii_uppercase())) && !all.has("Key") && !all.has("other") && !all.has(""));
        assert!(asks(&[&names[..], &["OneMore".to_owned()]].concat()).is_none());
        let long: Vec<String> = (0..=MAX_BYTES / LONGEST_ASKED).map(|n| format!("{n:0127}")).collect();
        assert!(asks(&long[1..]).is_some() && asks(&long).is_none(), "one name more than there is room for");
    }

    #[test]
    fn a_name_that_cannot_come_back_is_passed_over() {
        let names = ["x".repeat(LONGEST_ASKED + 1), "a\0b".to_owned(), String::new()];
        let none = asks(&names).unwrap();
        assert!(!none.has(&names[0]) && !none.has("a") && !none.has("b"));
    }
}
