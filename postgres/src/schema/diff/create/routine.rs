use super::Maker;
use crate::quote::{quote_ident, quote_literal};
use crate::schema::diff::side::or_star;
use crate::schema::snapshot::Object;
use crate::schema::snapshot::routine::{Aggregate, Language};

impl Maker<'_> {
    pub(super) fn language(&self, object: &Object, language: &Language) -> String {
        let mut sql = format!(
            "create {}language {}",
            if language.trusted { "trusted " } else { "" },
            quote_ident(&object.name)
        );
        for (word, function) in [
            ("handler", &language.handler),
            ("inline", &language.inline),
            ("validator", &language.validator),
        ] {
            if let Some(function) = function {
                sql.push_str(&format!(" {word} {function}"));
            }
        }
        sql
    }

    pub(super) fn aggregate(&self, object: &Object, aggregate: &Aggregate) -> String {
        let mut options = vec![
            format!("sfunc = {}", aggregate.state_function),
            format!("stype = {}", aggregate.state_type),
        ];
        let mut plain = |name: &str, value: &Option<String>| {
            options.extend(value.as_ref().map(|value| format!("{name} = {value}")));
        };
        plain("finalfunc", &aggregate.final_function);
        plain("combinefunc", &aggregate.combine_function);
        plain("serialfunc", &aggregate.serial_function);
        plain("deserialfunc", &aggregate.deserial_function);
        plain("msfunc", &aggregate.moving_state_function);
        plain("minvfunc", &aggregate.moving_inverse_function);
        plain("mstype", &aggregate.moving_state_type);
        plain("mfinalfunc", &aggregate.moving_final_function);
        plain("sortop", &aggregate.sort_operator);
        for (name, value) in
            [("initcond", &aggregate.initial), ("minitcond", &aggregate.moving_initial)]
        {
            options
                .extend(value.as_ref().map(|value| format!("{name} = {}", quote_literal(value))));
        }
        for (name, value) in
            [("sspace", aggregate.state_space), ("msspace", aggregate.moving_state_space)]
        {
            if value != 0 {
                options.push(format!("{name} = {value}"));
            }
        }
        for (name, given) in [
            ("finalfunc_extra", aggregate.final_extra),
            ("mfinalfunc_extra", aggregate.moving_final_extra),
            ("hypothetical", aggregate.variety == 'h'),
        ] {
            if given {
                options.push(name.to_owned());
            }
        }
        // What is usual differs between ordinary and ordered-set aggregates; saying it is never wrong.
        let modify = |letter: char| match letter {
            's' => "shareable",
            'w' => "read_write",
            _ => "read_only",
        };
        options.push(format!("finalfunc_modify = {}", modify(aggregate.final_modify)));
        if aggregate.moving_state_function.is_some() {
            options.push(format!("mfinalfunc_modify = {}", modify(aggregate.moving_final_modify)));
        }
        let parallel = match aggregate.parallel {
            's' => "safe",
            'r' => "restricted",
            _ => "unsafe",
        };
        options.push(format!("parallel = {parallel}"));
        format!(
            "create aggregate {}({}) ({})",
            self.side.qualified(object),
            or_star(&aggregate.arguments),
            options.join(", ")
        )
    }
}
