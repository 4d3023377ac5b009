//! A name or a glob: `*` stands for any characters, `?` for one.

use std::fmt;

/// What a name must look like. Nothing is folded to lower case.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Pattern(Vec<Part>);

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Part {
    /// Exactly this character.
    Is(char),
    /// Any one.
    One,
    /// Any number of any.
    Many,
}

impl Pattern {
    /// This name and no other, whatever characters it has.
    pub fn literal(name: &str) -> Pattern {
        Pattern(name.chars().map(Part::Is).collect())
    }

    /// Names that look like `text`.
    pub fn glob(text: &str) -> Pattern {
        let mut parts: Vec<Part> = text
            .chars()
            .map(|c| match c {
                '*' => Part::Many,
                '?' => Part::One,
                other => Part::Is(other),
            })
            .collect();
        parts.dedup_by(|one, other| *one == Part::Many && *other == Part::Many);
        Pattern(parts)
    }

    /// Whether the name is one of those. Time is linear in the name for each `*`, never exponential.
    pub fn matches(&self, name: &str) -> bool {
        let (parts, name) = (&self.0, name.chars().collect::<Vec<char>>());
        let (mut part, mut at) = (0, 0);
        // Where the last `*` stands, and up to where it has taken the name: the one choice that may
        // have to be made anew.
        let mut many: Option<(usize, usize)> = None;
        while let Some(next) = name.get(at) {
            match parts.get(part) {
                Some(Part::Many) => {
                    many = Some((part, at));
                    part += 1;
                }
                Some(Part::One) => (part, at) = (part + 1, at + 1),
                Some(Part::Is(wanted)) if wanted == next => (part, at) = (part + 1, at + 1),
                Some(Part::Is(_)) | None => {
                    let Some((star, taken)) = many else { return false };
                    many = Some((star, taken + 1));
                    (part, at) = (star + 1, taken + 1);
                }
            }
        }
        parts.iter().skip(part).all(|part| *part == Part::Many)
    }

    /// Whether it can only be one name.
    pub fn is_literal(&self) -> bool {
        self.0.iter().all(|part| matches!(part, Part::Is(_)))
    }

    /// The name, if it can only be one.
    pub fn as_literal(&self) -> Option<String> {
        let letter = |part: &Part| match part {
            Part::Is(letter) => Some(*letter),
            Part::One | Part::Many => None,
        };
        self.0.iter().map(letter).collect()
    }
}

/// A name as it is; a pattern as it was written.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Is(letter) => write!(f, "{letter}"),
            Part::One => f.write_str("?"),
            Part::Many => f.write_str("*"),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, tried out in full.
    fn means(pattern: &[char], name: &[char]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), _) => (0..=name.len()).any(|n| means(rest, &name[n..])),
            (Some(('?', rest)), Some((_, left))) => means(rest, left),
            (Some((letter, rest)), Some((first, left))) => letter == first && means(rest, left),
            _ => false,
        }
    }

    #[test]
    fn stars_and_question_marks() {
        for (pattern, name, expected) in [
            ("tmp_*", "tmp_", true),
            ("tmp_*", "tmp", false),
            ("audit_?", "audit_ß", true),
            ("audit_?", "audit_", false),
            ("*", "", true),
            ("**a**", "bab", true),
            ("a*b*c", "aXbXbc", true),
            ("Tmp", "tmp", false),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(Pattern::glob(pattern).matches(name), expected, "{pattern} {name}");
        }
        assert!(Pattern::literal("a*").matches("a*") && !Pattern::literal("a*").matches("ab"));
        assert!(Pattern::literal("a*").is_literal() && !Pattern::glob("a?").is_literal());
    }

    #[test]
    fn a_hostile_pattern_takes_no_time() {
        let pattern = Pattern::glob(&("*a".repeat(30) + "b"));
        assert!(!pattern.matches(&"a".repeat(63)));
    }

    proptest! {
        #[test]
        fn it_matches_what_the_definition_says(pattern in "[ab?*]{0,8}", name in "[ab]{0,10}") {
            let (p, n): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
            prop_assert_eq!(Pattern::glob(&pattern).matches(&name), means(&p, &n));
        }

        #[test]
        fn a_literal_is_itself_alone(one in ".{0,6}", other in ".{0,6}") {
            prop_assert!(Pattern::literal(&one).matches(&one));
            prop_assert_eq!(Pattern::literal(&one).matches(&other), one == other);
            let found = Pattern::literal(&one).as_literal();
            prop_assert_eq!(found.as_deref(), Some(one.as_str()));
        }

        #[test]
        fn a_glob_without_signs_is_a_literal(name in "[^*?]{0,8}") {
            prop_assert_eq!(Pattern::glob(&name), Pattern::literal(&name));
        }
    }
}
