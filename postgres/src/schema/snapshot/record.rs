/// Declares structs of the snapshot: plain public data, stored as JSON without what is as usual, and
/// read with whatever a newer or older writer left out or added.
macro_rules! record {
    ($( $(#[$about:meta])* pub struct $name:ident { $( $(#[$what:meta])* $field:ident: $kind:ty, )* } )*) => { $(
        $(#[$about])*
        #[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        pub struct $name { $(
            $(#[$what])*
            #[serde(skip_serializing_if = "crate::schema::snapshot::record::is_default")]
            pub $field: $kind,
        )* }
    )* };
}

pub(super) use record;

pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
