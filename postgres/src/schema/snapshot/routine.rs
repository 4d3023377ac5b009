//! Functions, procedures, aggregates, and what stands beside them: languages, access methods,
//! conversions.

use super::record::record;

record! {
    /// A function, procedure or window function.
    pub struct Routine {
        /// `pg_proc.prokind`: `f`, `p` or `w`.
        routine: char,
        /// Arguments without defaults, as they identify it.
        signature: String,
        /// Types of the arguments that go in.
        types: String,
        /// Arguments with defaults.
        arguments: String,
        /// What it returns.
        result: Option<String>,
        /// The whole statement that makes it.
        definition: String,
    }

    /// An aggregate.
    pub struct Aggregate {
        /// Arguments without defaults, as they identify it.
        signature: String,
        /// Types of the arguments that go in.
        types: String,
        /// Arguments as they are declared.
        arguments: String,
        /// `pg_aggregate.aggkind`: `n`, `o` or `h`.
        variety: char,
        /// SFUNC
        state_function: String,
        /// STYPE
        state_type: String,
        /// SSPACE
        state_space: i32,
        /// FINALFUNC
        final_function: Option<String>,
        /// FINALFUNC_EXTRA
        final_extra: bool,
        /// FINALFUNC_MODIFY: `r`, `s`, `w`
        final_modify: char,
        /// COMBINEFUNC
        combine_function: Option<String>,
        /// SERIALFUNC
        serial_function: Option<String>,
        /// DESERIALFUNC
        deserial_function: Option<String>,
        /// INITCOND
        initial: Option<String>,
        /// MSFUNC
        moving_state_function: Option<String>,
        /// MINVFUNC
        moving_inverse_function: Option<String>,
        /// MSTYPE
        moving_state_type: Option<String>,
        /// MSSPACE
        moving_state_space: i32,
        /// MFINALFUNC
        moving_final_function: Option<String>,
        /// MFINALFUNC_EXTRA
        moving_final_extra: bool,
        /// MFINALFUNC_MODIFY
        moving_final_modify: char,
        /// MINITCOND
        moving_initial: Option<String>,
        /// SORTOP
        sort_operator: Option<String>,
        /// `pg_proc.proparallel`
        parallel: char,
    }

    /// A procedural language that no extension brought.
    pub struct Language {
        /// Whether everybody may use it.
        trusted: bool,
        /// Its call handler.
        handler: Option<String>,
        /// For DO.
        inline: Option<String>,
        /// Checks new functions.
        validator: Option<String>,
    }

    /// An access method.
    pub struct AccessMethod {
        /// `t` for tables, `i` for indexes.
        variety: char,
        /// Its handler.
        handler: String,
    }

    /// An encoding conversion.
    pub struct Conversion {
        /// From this encoding.
        from_encoding: String,
        /// To this one.
        to_encoding: String,
        /// By this function.
        function: String,
        /// Whether it is the one that is used.
        is_default: bool,
    }
}
