//! Statements over many rows: `INSERT … VALUES (…), (…), …` in a few fixed sizes.
//! Used by the projections' write paths. Every statement crosses to sqlx's worker thread and back, which costs more than writing
//! a row; fixed power-of-two sizes keep the number of prepared statements small.

use sqlx::SqliteConnection;
use sqlx::error::BoxDynError;
use sqlx::sqlite::SqliteArguments;

/// Rows per statement, largest first. 64 rows of 14 columns stay far below SQLite's 32,766 parameters.
const CHUNK_ROWS: [usize; 7] = [64, 32, 16, 8, 4, 2, 1];

/// One statement, written out for each chunk size.
#[derive(Debug)]
pub(crate) struct ManyRows {
    texts: [String; CHUNK_ROWS.len()],
}

impl ManyRows {
    /// `before` ends with `VALUES`; each row has `columns` parameters; `after` is what follows the rows, as the conflict clause, or empty.
    pub(crate) fn new(before: &str, columns: usize, after: &str) -> Self {
        let row = format!("({})", vec!["?"; columns].join(","));
        Self { texts: CHUNK_ROWS.map(|rows| format!("{before} {} {after}", vec![&*row; rows].join(","))) }
    }

    /// Runs the statement over `rows`, in order; answers how many rows it changed.
    pub(crate) async fn execute<R>(
        &'static self,
        connection: &mut SqliteConnection,
        rows: Vec<R>,
        bind: impl Fn(&mut SqliteArguments<'static>, R) -> Result<(), BoxDynError>,
    ) -> Result<u64, sqlx::Error> {
        let mut left = rows.len();
        let mut rows = rows.into_iter();
        let mut changed = 0;
        for (size, text) in CHUNK_ROWS.iter().zip(&self.texts) {
            while left >= *size {
                let mut arguments = SqliteArguments::default();
                for row in rows.by_ref().take(*size) {
                    bind(&mut arguments, row).map_err(sqlx::Error::Encode)?;
                }
                changed += sqlx::query_with(text, arguments).execute(&mut *connection).await?.rows_affected();
                left -= size;
            }
        }
        Ok(changed)
    }
}
