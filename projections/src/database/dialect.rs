//! What SQLite and Postgres say differently, as text for statements. Used by every file that puts statements together.

use super::Kind;

/// How the two databases say the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    /// A table expression of the items of a JSON array, in the column `item.value`.
    pub(crate) fn json_items(self, array: &str) -> String {
        match self {
            Self::Sqlite => format!("json_each({array}) AS item"),
            Self::Postgres => format!("json_array_elements_text({array}::json) AS item(value)"),
        }
    }

    /// A table expression of the items of an array in a JSON object, in the column `item.value`; of NULL there are none.
    pub(crate) fn json_items_of(self, object: &str, member: &str) -> String {
        match self {
            Self::Sqlite => format!("json_each({object}, '$.{member}') AS item"),
            Self::Postgres => format!("json_array_elements({object}::json -> '{member}') AS item(value)"),
        }
    }

    /// One of the items of such an array, which is an array itself, as what a column of that kind holds.
    pub(crate) fn json_at(self, index: usize, kind: Kind) -> String {
        match (self, kind) {
            (Self::Sqlite, _) => format!("json_extract(item.value, '$[{index}]')"),
            (Self::Postgres, Kind::Flag) => format!("(item.value ->> {index})::boolean"),
            (Self::Postgres, Kind::Integer) => format!("(item.value ->> {index})::bigint"),
            (Self::Postgres, _) => format!("(item.value ->> {index}) COLLATE \"C\""),
        }
    }

    /// `LIKE`, ASCII letters in either case. Texts are compared by their bytes, so Postgres folds ASCII only too.
    pub(crate) fn like(self) -> &'static str {
        match self {
            Self::Sqlite => "LIKE",
            Self::Postgres => "ILIKE",
        }
    }

    /// A table expression of all texts and numbers in a document, however deep, in the column `leaf.atom`.
    pub(crate) fn json_leaves(self, document: &str) -> String {
        match self {
            Self::Sqlite => format!("json_tree({document}) AS leaf"),
            // Postgres refuses the character U+0000 in JSON that it takes apart; nobody searches for it.
            Self::Postgres => format!(
                "(SELECT value #>> '{{}}' COLLATE \"C\" AS atom FROM \
                 jsonb_path_query(replace({document}, '\\u0000', '\\ufffd')::jsonb, 'strict $.**') AS value \
                 WHERE jsonb_typeof(value) IN ('string', 'number')) AS leaf"
            ),
        }
    }

    /// Orders a text by its bytes, which SQLite does anyway.
    pub(crate) fn by_bytes(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => " COLLATE \"C\"",
        }
    }

    /// A column as a literal.
    pub(crate) fn quoted(self, column: &str) -> String {
        match self {
            Self::Sqlite => format!("quote({column})"),
            Self::Postgres => format!("quote_nullable({column})"),
        }
    }
}
