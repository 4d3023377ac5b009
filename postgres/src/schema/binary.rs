//! Which types may travel in binary between two databases.
//!
//! A type may when everything it is made of (elements, attributes, the type below a domain or range)
//! has send and receive functions and sends nothing that means something else elsewhere. The test
//! decides COPY BINARY and pgoutput's `binary` alike. Arrays and row types carry the oids of
//! user-defined element types; a server with [`Capabilities::foreign_type_oids`] overlooks that,
//! for an older one whoever writes to it must replace them.

use std::collections::HashMap;

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::dialect::adapt;
use crate::{Capabilities, Error};

/// For each of the types, whether it may travel in binary. A type that is not there may not.
///
/// # Errors
/// When the query fails.
pub async fn binary_safe(
    client: &Client,
    capabilities: &Capabilities,
    type_oids: &[u32],
) -> Result<HashMap<u32, bool>, Error> {
    let mut safe: HashMap<u32, bool> = type_oids.iter().map(|oid| (*oid, false)).collect();
    let sql = adapt(include_str!("sql/binary_safe.sql"), capabilities);
    for row in client.query_typed(&sql, &[(&type_oids, Type::OID_ARRAY)]).await? {
        safe.insert(row.try_get(0)?, row.try_get(1)?);
    }
    Ok(safe)
}
