//! Embedded read models that nobody asks yet and no crash has to leave whole: their file is made anew after one.
//! Used by shadows and rebuilds, whose rows are all still to come.

use crate::database::sql;
use crate::read_models::ReadModels;

/// Has the writer wait for no disk.
pub(crate) async fn write_lightly(read_models: &ReadModels) -> Result<(), sqlx::Error> {
    let cheap = "PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY";
    read_models.writer().await?.own().run_script(cheap).await
}

/// Drops the indexes that only queries need, of rows that are all still to come; answers what makes them again.
pub(crate) async fn drop_indexes(read_models: &ReadModels) -> Result<Vec<String>, sqlx::Error> {
    let mut writer = read_models.writer().await?;
    let indexes = "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql LIKE 'CREATE INDEX%'";
    let indexes = sql(indexes).rows(&mut writer.connection()).await?;
    let mut made = Vec::with_capacity(indexes.len());
    for index in indexes {
        writer.own().run_script(&format!("DROP INDEX {}", index.get::<&str>("name")?)).await?;
        made.push(index.get::<String>("sql")?);
    }
    Ok(made)
}
