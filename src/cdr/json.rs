//! JSON text, written field by field and in the order it is asked for: numbers are exact, which floating point is not.

use rust_decimal::{Decimal, RoundingStrategy};

/// The decimals that OCPI gives a number (OCPI 2.2.1, Types, number).
pub(super) const DECIMALS: u32 = 4;

/// An object being written.
pub(super) struct Object(String);

impl Object {
    pub(super) fn new() -> Self {
        Self("{".to_owned())
    }

    /// A field whose value is JSON already.
    pub(super) fn raw(mut self, name: &str, json: &str) -> Self {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push_str(&quoted(name));
        self.0.push(':');
        self.0.push_str(json);
        self
    }

    pub(super) fn text(self, name: &str, value: &str) -> Self {
        self.raw(name, &quoted(value))
    }

    pub(super) fn maybe_text(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.text(name, value),
            None => self,
        }
    }

    pub(super) fn number(self, name: &str, value: Decimal) -> Self {
        self.raw(name, &number(value))
    }

    pub(super) fn maybe_number(self, name: &str, value: Option<Decimal>) -> Self {
        match value {
            Some(value) => self.number(name, value),
            None => self,
        }
    }

    pub(super) fn maybe_raw(self, name: &str, json: Option<String>) -> Self {
        match json {
            Some(json) => self.raw(name, &json),
            None => self,
        }
    }

    pub(super) fn list(self, name: &str, items: impl IntoIterator<Item = String>) -> Self {
        let items: Vec<String> = items.into_iter().collect();
        self.raw(name, &format!("[{}]", items.join(",")))
    }

    pub(super) fn close(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// A number with as many decimals as it needs, four at most.
pub(super) fn number(value: Decimal) -> String {
    let rounded = value.round_dp_with_strategy(DECIMALS, RoundingStrategy::MidpointNearestEven).normalize();
    // A zero may carry a sign.
    if rounded.is_zero() { "0".to_owned() } else { rounded.to_string() }
}

/// A JSON string.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_exact_and_short() {
        for (value, written) in
            [("0.10", "0.1"), ("100", "100"), ("-0.0000", "0"), ("1.00005", "1"), ("1.00015", "1.0002"), ("-2.5", "-2.5")]
        {
            assert_eq!(number(value.parse().unwrap()), written);
        }
    }

    #[test]
    fn an_object_is_json() {
        let json = Object::new().text("a\"", "b\n").number("c", Decimal::ONE).maybe_text("d", None).list("e", ["1".to_owned()]).close();
        assert_eq!(json, r#"{"a\"":"b\n","c":1,"e":[1]}"#);
    }
}
