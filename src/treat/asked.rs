//! The settings that a CALL of the central system names: its station's answer may name them again.

use crate::ocpp::json::{Cursor, Shape, Unreadable};

/// Names of settings remembered of one CALL. Stations report far smaller limits on the items of a message.
const MAX_ASKED: usize = 128;

/// The longest of them, in bytes; the standard's longest names have 50 characters. So a station's pending CALLs keep 16 KiB each at most.
const LONGEST_ASKED: usize = 128;

/// The names of settings in a CALL of the central system: its `name`, `instance` and `key` members, at most [`MAX_ASKED`].
pub(crate) fn asked(payload: Cursor<'_>) -> Box<[Box<str>]> {
    fn walk(cursor: &mut Cursor<'_>, named: bool, found: &mut Vec<Box<str>>) -> Result<(), Unreadable> {
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
                if named && found.len() < MAX_ASKED && token.span.len() <= LONGEST_ASKED {
                    found.push(cursor.content(&token).into());
                }
            }
            _ => {
                cursor.skip()?;
            }
        }
        Ok(())
    }
    let mut found = Vec::new();
    let mut payload = payload;
    // What cannot be read was refused before.
    let _ = walk(&mut payload, false, &mut found);
    found.into()
}
