//! Datums as text, for people: PostgreSQL's own text where it was sent as text, a reading of the
//! simplest binary types, and hexadecimal for the rest.

#![deny(clippy::indexing_slicing, clippy::unwrap_used)]

use std::fmt::Write as _;

use pgtrail_log::{Column, Datum};
use serde_json::{Value, json};

/// `pg_type` oids whose binary form is read here. All are fixed since PostgreSQL 8.
mod oid {
    pub(super) const BOOL: u32 = 16;
    pub(super) const NAME: u32 = 19;
    pub(super) const INT8: u32 = 20;
    pub(super) const INT2: u32 = 21;
    pub(super) const INT4: u32 = 23;
    pub(super) const TEXT: u32 = 25;
    pub(super) const OID: u32 = 26;
    pub(super) const JSON: u32 = 114;
    pub(super) const XML: u32 = 142;
    pub(super) const BPCHAR: u32 = 1042;
    pub(super) const VARCHAR: u32 = 1043;
    pub(super) const UUID: u32 = 2950;
}

/// A datum on one line: quoted text, a plain number, `null`, `unchanged`.
pub(super) fn to_text(datum: &Datum<'_>, column: &Column) -> String {
    match datum {
        Datum::Null => "null".to_owned(),
        Datum::Unchanged => "unchanged".to_owned(),
        Datum::Text(bytes) => quoted(&String::from_utf8_lossy(bytes)),
        Datum::Binary(bytes) => {
            from_binary(bytes, column.type_oid).unwrap_or_else(|| format!("\\x{}", hex(bytes)))
        }
    }
}

/// A datum in JSON, exactly as it is in the log: text as a string, binary as its bytes.
pub(super) fn to_json(datum: &Datum<'_>) -> Value {
    match datum {
        Datum::Null => Value::Null,
        Datum::Unchanged => json!({ "unchanged": true }),
        Datum::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Value::from(text),
            Err(_) => json!({ "text": hex(bytes) }),
        },
        Datum::Binary(bytes) => json!({ "binary": hex(bytes) }),
    }
}

fn from_binary(bytes: &[u8], type_oid: u32) -> Option<String> {
    match type_oid {
        oid::BOOL => bytes.first().map(|byte| (*byte != 0).to_string()),
        oid::INT2 => Some(i16::from_be_bytes(bytes.try_into().ok()?).to_string()),
        oid::INT4 => Some(i32::from_be_bytes(bytes.try_into().ok()?).to_string()),
        oid::INT8 => Some(i64::from_be_bytes(bytes.try_into().ok()?).to_string()),
        oid::OID => Some(u32::from_be_bytes(bytes.try_into().ok()?).to_string()),
        oid::UUID => {
            let number = u128::from_be_bytes(bytes.try_into().ok()?);
            let digits = format!("{number:032x}");
            let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
            Some(format!(
                "'{}-{}-{}-{}-{}'",
                part(0, 8),
                part(8, 12),
                part(12, 16),
                part(16, 20),
                part(20, 32)
            ))
        }
        oid::TEXT | oid::VARCHAR | oid::BPCHAR | oid::NAME | oid::JSON | oid::XML => {
            std::str::from_utf8(bytes).ok().map(quoted)
        }
        _ => None,
    }
}

/// In single quotes, control characters escaped so that a record stays on its line.
fn quoted(text: &str) -> String {
    let mut line = String::with_capacity(text.len() + 2);
    line.push('\'');
    for character in text.chars() {
        match character {
            '\'' => line.push_str("''"),
            '\\' => line.push_str("\\\\"),
            control if control.is_control() => line.extend(control.escape_default()),
            other => line.push(other),
        }
    }
    line.push('\'');
    line
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(datum: Datum<'_>, type_oid: u32, text: &str, json: &Value) {
        let column = Column {
            name: "c".to_owned(),
            type_oid,
            type_schema: String::new(),
            type_name: String::new(),
            typmod: -1,
            is_key: false,
        };
        assert_eq!(to_text(&datum, &column), text);
        assert_eq!(to_json(&datum), *json);
    }

    #[test]
    fn shows_each_kind_of_datum() {
        check(Datum::Null, 25, "null", &Value::Null);
        check(Datum::Unchanged, 25, "unchanged", &json!({ "unchanged": true }));
        check(Datum::Text(b"it's\n"), 25, r"'it''s\n'", &json!("it's\n"));
        check(Datum::Binary(&[0, 0, 0, 7]), 23, "7", &json!({ "binary": "00000007" }));
        check(Datum::Binary(b"\xff\x00"), 17, r"\xff00", &json!({ "binary": "ff00" }));
    }

    #[test]
    fn a_binary_value_of_the_wrong_length_is_shown_as_bytes() {
        check(Datum::Binary(&[1, 2]), 23, r"\x0102", &json!({ "binary": "0102" }));
        check(Datum::Binary(&[]), 16, r"\x", &json!({ "binary": "" }));
        check(Datum::Binary(&[0xff]), 25, r"\xff", &json!({ "binary": "ff" }));
    }

    #[test]
    fn shows_a_uuid_as_postgres_does() {
        let bytes: Vec<u8> = (0..16).collect();
        let column = oid::UUID;
        let text = from_binary(&bytes, column).expect("a uuid");
        assert_eq!(text, "'00010203-0405-0607-0809-0a0b0c0d0e0f'");
    }
}
