//! Golden captures: what servers of several majors sent, as readable text.
//!
//! `captures/*.bin` are streams of pgoutput as they came from a server, `captures/*.txt` what the
//! decoder makes of them. A change of the decoder shows as a difference in the text;
//! `PGTRAIL_UPDATE_GOLDEN=1` writes it anew. The captures themselves are made again only with
//! `PGTRAIL_CAPTURE=12,15,18` (majors that are installed), see `capture`.

mod capture;
mod render;

use std::path::{Path, PathBuf};

fn captures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/captures")
}

/// Every capture reads as the text beside it.
#[test]
fn captures_decode_to_their_text() {
    let mut checked = 0;
    for entry in std::fs::read_dir(captures()).expect("captures") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "bin") {
            continue;
        }
        let text = render::render(&capture::read(&path));
        let golden = path.with_extension("txt");
        if std::env::var_os("PGTRAIL_UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &text).expect("written");
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        let difference = first_difference(&expected, &text);
        assert!(difference.is_none(), "{}: {}", path.display(), difference.unwrap_or_default());
        checked += 1;
    }
    assert!(checked >= 5, "only {checked} captures");
}

/// Cut anywhere, a captured message is refused; it never panics.
#[test]
fn truncated_captures_are_refused() {
    for entry in std::fs::read_dir(captures()).expect("captures") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "bin") {
            continue;
        }
        let mut decoder = pgtrail_reader::pgoutput::Decoder::new();
        for (lsn, message) in capture::read(&path) {
            for end in (0..message.len()).step_by(1 + message.len() / 64) {
                let cut = decoder.clone().decode(&message[..end]).is_err();
                let short_abort = message[0] == b'A' && end == 9;
                assert!(cut || short_abort, "{}: {lsn} cut at {end}", path.display());
            }
            decoder.decode(&message).expect("a message");
        }
    }
}

fn first_difference(expected: &str, found: &str) -> Option<String> {
    let (mut expected, mut found) = (expected.lines(), found.lines());
    for number in 1.. {
        match (expected.next(), found.next()) {
            (None, None) => return None,
            (expected, found) if expected == found => {}
            (expected, found) => {
                return Some(format!("line {number}: expected {expected:?}, found {found:?}"));
            }
        }
    }
    None
}
