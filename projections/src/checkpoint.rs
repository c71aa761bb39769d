//! Checkpoints: how far each projection has come in each ledger, and which ledger that is ([`Witness`]), kept in the same transaction as the rows.
//! One row a tenant, because a batch moves all projections of it at once. Used by the projector (load, compare-and-set), readers (position of an
//! answer), status and rebuild.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use foldhash::fast::RandomState;
use formledger_domain::{Position, TenantId};

use crate::columns::{self, place};
use crate::database::Kind::{self, Bytes, Integer, Text};
use crate::database::{Connection, ManyRows, Values, sql};
use crate::position::ReadModel;
use crate::witness::Witness;

/// How a projection stands in a tenant's ledger.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Checkpoint {
    /// The last position applied.
    pub(crate) position: Position,
    /// Why the next event cannot be applied; `None` while following.
    pub(crate) parked: Option<String>,
}

/// A checkpoint's move, compared and set.
#[derive(Debug, Clone)]
pub(crate) struct Move {
    pub(crate) tenant: TenantId,
    pub(crate) from: Position,
    pub(crate) to: Checkpoint,
}

/// What a batch moves of one projection.
#[derive(Debug)]
pub(crate) struct Moved {
    pub(crate) read_model: ReadModel,
    pub(crate) moves: Vec<Move>,
    /// Of tenants that move.
    pub(crate) recounts: Vec<Recount>,
}

/// A change of the counts that are kept in the checkpoint's row and not yet in the tables of counts. Compared and set like the checkpoint, because a
/// rebuild may have replaced them at the same position. An empty text is no count.
#[derive(Debug, Clone)]
pub(crate) struct Recount {
    pub(crate) tenant: TenantId,
    pub(crate) from: String,
    pub(crate) to: String,
}

/// What a batch does to a tenant's row.
#[derive(Debug, Default)]
struct Step<'a> {
    /// By the order of [`ReadModel::ALL`]; `None` for a projection that stays where it is.
    moves: [Option<&'a Move>; ReadModel::ALL.len()],
    witness: Option<&'a Witness>,
    recount: Option<&'a Recount>,
}

impl Step<'_> {
    fn begins(&self) -> bool {
        self.moves.iter().flatten().any(|moved| moved.from == Position::START)
    }

    fn parks(&self) -> bool {
        self.moves.iter().flatten().any(|moved| moved.to.parked.is_some())
    }
}

/// The tenant, where each projection was and is, a position that the rows reflect, its leaf hash, and what is not counted, now and before.
const GO_ON_KINDS: [Kind; 13] = [
    Text, Integer, Integer, Integer, Integer, Integer, Integer, Integer, Integer, Integer, Bytes, Text, Text,
];
/// The same, the leaf hash of the first event, and why each projection is parked.
const SET_KINDS: [Kind; 18] = [
    Text, Integer, Integer, Integer, Integer, Integer, Integer, Integer, Integer, Integer, Bytes, Text, Text,
    Bytes, Text, Text, Text, Text,
];

/// How rows of tenants whose projections follow go on: most of all moves, with the fewest columns. Each row is found once: Postgres takes half as long for it
/// as for an insertion that looks for conflicts, tries to insert, and locks what is there before it changes it (docs/benchmarks-notebook.md, "Growth").
static GO_ON: LazyLock<ManyRows> = LazyLock::new(|| ManyRows::over(&update(false), &GO_ON_KINDS));

/// How a projection begins, or is parked.
static SET: LazyLock<ManyRows> = LazyLock::new(|| ManyRows::over(&update(true), &SET_KINDS));

/// A row for who begins.
static ADD: LazyLock<ManyRows> = LazyLock::new(|| {
    ManyRows::insert("INSERT INTO checkpoints (tenant_id)", &[Text], "ON CONFLICT (tenant_id) DO NOTHING")
});

/// Moves the projections that say where they come from, if all of them stand there in this version. With `whole`, one that has no version yet begins,
/// too; not beside rows of another version, which would be in the same tables.
fn update(whole: bool) -> String {
    // The witness goes forward only: a projection that is behind the others reflects less than they do.
    let mut set = vec![
        "reflected_hash = CASE WHEN r.column10 > coalesce(reflected_position, 0) THEN r.column11 ELSE reflected_hash END"
            .to_owned(),
        "reflected_position = CASE WHEN r.column10 > coalesce(reflected_position, 0) THEN r.column10 ELSE reflected_position END"
            .to_owned(),
        "uncounted = CASE WHEN r.column12 IS NULL THEN uncounted ELSE nullif(r.column12, '') END".to_owned(),
    ];
    if whole {
        set.push("first_hash = coalesce(first_hash, r.column14)".to_owned());
    }
    let mut conditions = vec![
        "checkpoints.tenant_id = r.column1".to_owned(),
        "(r.column12 IS NULL OR coalesce(uncounted, '') = r.column13)".to_owned(),
    ];
    for read_model in ReadModel::ALL {
        let (name, version) = (read_model.name(), read_model.version());
        let (from, to) = (2 + 2 * read_model.index(), 3 + 2 * read_model.index());
        set.push(format!("{name}_position = coalesce(r.column{to}, {name}_position)"));
        let error = if whole { format!("r.column{}", 15 + read_model.index()) } else { "NULL".to_owned() };
        set.push(format!("{name}_error = CASE WHEN r.column{to} IS NULL THEN {name}_error ELSE {error} END"));
        let begins = if whole {
            set.push(format!(
                "{name}_version = CASE WHEN r.column{to} IS NULL THEN {name}_version ELSE {version} END"
            ));
            format!(" OR {name}_version IS NULL AND r.column{from} = 0")
        } else {
            String::new()
        };
        conditions.push(format!(
            "(r.column{from} IS NULL OR {name}_position = r.column{from} AND ({name}_version = {version}{begins}))"
        ));
    }
    format!("UPDATE checkpoints SET {} FROM {{rows}} WHERE {}", set.join(", "), conditions.join(" AND "))
}

fn bind(values: &mut dyn Values, tenant: &TenantId, step: &Step<'_>) {
    values.text(tenant.as_str());
    for moved in &step.moves {
        values.integer_or_null(moved.map(|moved| place(moved.from.0)));
        values.integer_or_null(moved.map(|moved| place(moved.to.position.0)));
    }
    values.integer_or_null(step.witness.map(|witness| place(witness.position.0)));
    values.bytes_or_null(step.witness.map(|witness| witness.last.as_slice()));
    values.text_or_null(step.recount.map(|recount| &*recount.to));
    values.text_or_null(step.recount.map(|recount| &*recount.from));
}

/// Moves checkpoints of some projections, and notes what the rows reflect of the ledgers that any of them moves in; answers whether every one of them was
/// where it was expected. When not, roll back.
pub(crate) async fn compare_and_set(
    connection: &mut Connection<'_>,
    moved: &[Moved],
    witnesses: &[Witness],
) -> Result<bool, sqlx::Error> {
    // In the order of the moves, which is mostly that of the tenants and with it that of the key.
    let mut steps: Vec<(&TenantId, Step<'_>)> = Vec::new();
    let mut places: HashMap<&TenantId, usize, RandomState> = HashMap::default();
    for Moved { read_model, moves, .. } in moved {
        for moved in moves {
            let place = *places.entry(&moved.tenant).or_insert(steps.len());
            if place == steps.len() {
                steps.push((&moved.tenant, Step::default()));
            }
            steps[place].1.moves[read_model.index()] = Some(moved);
        }
    }
    for recount in moved.iter().flat_map(|moved| &moved.recounts) {
        if let Some(place) = places.get(&recount.tenant) {
            steps[*place].1.recount = Some(recount);
        }
    }
    for witness in witnesses {
        if let Some(place) = places.get(&witness.tenant) {
            steps[*place].1.witness = Some(witness);
        }
    }
    let expected = steps.len() as u64;
    let begun = steps.iter().filter(|(_, step)| step.begins()).map(|(tenant, _)| *tenant).collect();
    ADD.execute(connection, begun, |values, tenant: &&TenantId| values.text(tenant.as_str())).await?;
    let (others, going_on): (Vec<_>, Vec<_>) =
        steps.into_iter().partition(|(_, step)| step.begins() || step.parks());
    let gone_on =
        GO_ON.execute(connection, going_on, |values, (tenant, step)| bind(values, tenant, step)).await?;
    let set = SET
        .execute(connection, others, |values, (tenant, step): &(&TenantId, Step<'_>)| {
            bind(values, tenant, step);
            let first = step.witness.and_then(|witness| witness.first.as_ref());
            values.bytes_or_null(first.map(<[u8; 32]>::as_slice));
            for moved in &step.moves {
                values.text_or_null(moved.and_then(|moved| moved.to.parked.as_deref()));
            }
        })
        .await?;
    Ok(gone_on + set == expected)
}

/// The checkpoints of one projection.
pub(crate) async fn load_all(
    connection: &mut Connection<'_>,
    read_model: ReadModel,
) -> Result<HashMap<TenantId, Checkpoint>, sqlx::Error> {
    load_all_in(connection, "checkpoints", read_model).await
}

/// As [`load_all`] in another set of read models that this connection sees, by the name of its `checkpoints`.
pub(crate) async fn load_all_in(
    connection: &mut Connection<'_>,
    checkpoints: &str,
    read_model: ReadModel,
) -> Result<HashMap<TenantId, Checkpoint>, sqlx::Error> {
    let name = read_model.name();
    let select = format!(
        "SELECT tenant_id, {name}_position AS position, {name}_error AS error FROM {checkpoints} WHERE {name}_version = $1"
    );
    let rows = sql(select).bind(read_model.version()).rows(connection).await?;
    rows.iter()
        .map(|row| {
            let checkpoint =
                Checkpoint { position: columns::position(row.get("position")?)?, parked: row.get("error")? };
            Ok((columns::tenant(row.get("tenant_id")?)?, checkpoint))
        })
        .collect()
}

/// Those of all projections by tenant, in the order of [`ReadModel::ALL`], by one statement; one that this version of its projection never moved is at the
/// start.
pub(crate) async fn load_whole(
    connection: &mut Connection<'_>,
) -> Result<HashMap<TenantId, [Checkpoint; ReadModel::ALL.len()]>, sqlx::Error> {
    let read = ReadModel::ALL.map(|read_model| {
        let (name, version) = (read_model.name(), read_model.version());
        format!(
            "CASE WHEN {name}_version = {version} THEN {name}_position END AS {name}_position, \
             CASE WHEN {name}_version = {version} THEN {name}_error END AS {name}_error"
        )
    });
    let names = ReadModel::ALL
        .map(|read_model| ["position", "error"].map(|part| format!("{}_{part}", read_model.name())));
    let rows =
        sql(format!("SELECT tenant_id, {} FROM checkpoints", read.join(", "))).rows(connection).await?;
    rows.iter()
        .map(|row| {
            let mut checkpoints: [Checkpoint; ReadModel::ALL.len()] = Default::default();
            for ([position, error], checkpoint) in names.iter().zip(&mut checkpoints) {
                if let Some(position) = row.get::<Option<i64>>(position)? {
                    *checkpoint =
                        Checkpoint { position: columns::position(position)?, parked: row.get(error)? };
                }
            }
            Ok((columns::tenant(row.get("tenant_id")?)?, checkpoints))
        })
        .collect()
}

/// What tells whether somebody else moved a projection's checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Totals {
    /// How many tenants it is parked at.
    pub(crate) parked: u64,
    /// The sum of all positions.
    pub(crate) reached: u64,
}

/// The totals of every projection in its present version, in the order of [`ReadModel::ALL`]; all at once, because that reads every row.
pub(crate) async fn totals(
    connection: &mut Connection<'_>,
) -> Result<[Totals; ReadModel::ALL.len()], sqlx::Error> {
    let columns = ReadModel::ALL.map(|read_model| {
        let (name, version) = (read_model.name(), read_model.version());
        format!(
            "count(*) FILTER (WHERE {name}_version = {version} AND {name}_error IS NOT NULL) AS {name}_parked, \
             CAST(coalesce(sum({name}_position) FILTER (WHERE {name}_version = {version}), 0) AS bigint) AS {name}_reached"
        )
    });
    let row = sql(format!("SELECT {} FROM checkpoints", columns.join(", "))).one(connection).await?;
    let mut totals = [Totals::default(); ReadModel::ALL.len()];
    for read_model in ReadModel::ALL {
        let name = read_model.name();
        totals[read_model.index()] = Totals {
            parked: columns::count(row.get(&format!("{name}_parked"))?)?,
            reached: columns::count(row.get(&format!("{name}_reached"))?)?,
        };
    }
    Ok(totals)
}

/// The events that operators let a projection pass over.
pub(crate) async fn load_skipped(
    connection: &mut Connection<'_>,
    read_model: ReadModel,
) -> Result<HashSet<(TenantId, Position)>, sqlx::Error> {
    let rows = sql("SELECT tenant_id, position FROM skips WHERE projection = $1 AND version = $2")
        .bind(read_model.name())
        .bind(read_model.version())
        .rows(connection)
        .await?;
    rows.iter()
        .map(|row| Ok((columns::tenant(row.get("tenant_id")?)?, columns::position(row.get("position")?)?)))
        .collect()
}

/// How far one tenant's read model reaches, in the connection's present snapshot.
pub(crate) async fn position(
    connection: &mut Connection<'_>,
    tenant: &TenantId,
    read_model: ReadModel,
) -> Result<Position, sqlx::Error> {
    position_in(connection, "checkpoints", tenant, read_model).await
}

/// Tenants that [`positions`] asks for at once: statements have two lengths, so that databases know them again.
const TENANTS_AT_ONCE: usize = 64;

/// How far all read models of some tenants reach, in the order of [`ReadModel::ALL`], as [`position`] tells of one. Tenants that have none are left out.
pub(crate) async fn positions(
    connection: &mut Connection<'_>,
    tenants: &[TenantId],
) -> Result<Vec<(TenantId, [Position; ReadModel::ALL.len()])>, sqlx::Error> {
    let at_once = if tenants.len() == 1 { 1 } else { TENANTS_AT_ONCE };
    let read = ReadModel::ALL.map(|read_model| {
        let (name, version) = (read_model.name(), read_model.version());
        format!("CASE WHEN {name}_version = {version} THEN {name}_position ELSE 0 END AS {name}_position")
    });
    let asked: Vec<String> = (1..=at_once).map(|place| format!("${place}")).collect();
    let text = format!(
        "SELECT tenant_id, {} FROM checkpoints WHERE tenant_id IN ({})",
        read.join(", "),
        asked.join(", ")
    );
    let names = ReadModel::ALL.map(|read_model| format!("{}_position", read_model.name()));
    let mut found = Vec::with_capacity(tenants.len());
    for chunk in tenants.chunks(at_once) {
        // The last ones are filled up with one of them.
        let whole = chunk.iter().chain(std::iter::repeat(&chunk[0])).take(at_once);
        let select = whole.fold(sql(text.clone()), |select, tenant| select.bind(tenant.as_str()));
        for row in &select.rows(connection).await? {
            let mut positions = [Position::START; ReadModel::ALL.len()];
            for (name, position) in names.iter().zip(&mut positions) {
                *position = columns::position(row.get(name)?)?;
            }
            found.push((columns::tenant(row.get("tenant_id")?)?, positions));
        }
    }
    Ok(found)
}

/// How far the rows reach that a query would read; `None` while there are none to be read, because another version of the projection made them
/// or this one has still to make them: other projections of the same ledger have come further then. A ledger that nothing was read of
/// is at [`Position::START`].
pub(crate) async fn readable(
    connection: &mut Connection<'_>,
    tenant: &TenantId,
    read_model: ReadModel,
) -> Result<Option<Position>, sqlx::Error> {
    static SELECTS: LazyLock<[String; ReadModel::ALL.len()]> = LazyLock::new(|| {
        ReadModel::ALL.map(|read_model| {
            let (name, version) = (read_model.name(), read_model.version());
            format!(
                "SELECT CASE WHEN {name}_version = {version} AND ({name}_position > 0 OR {name}_error IS NOT NULL) \
                 THEN {name}_position END FROM checkpoints WHERE tenant_id = $1"
            )
        })
    });
    let select = SELECTS[read_model.index()].as_str();
    let Some(row) = sql(select).bind(tenant.as_str()).optional(connection).await? else {
        return Ok(Some(Position::START));
    };
    Ok(row.value::<Option<i64>>()?.map(columns::position).transpose()?)
}

/// Whether another read model of this tenant shows more of the ledger than `position`.
pub(crate) async fn is_behind_others(
    connection: &mut Connection<'_>,
    tenant: &TenantId,
    position: Position,
) -> Result<bool, sqlx::Error> {
    let further = ReadModel::ALL.map(|read_model| format!("{}_position > $2", read_model.name()));
    let select = format!(
        "SELECT EXISTS (SELECT 1 FROM checkpoints WHERE tenant_id = $1 AND ({}))",
        further.join(" OR ")
    );
    sql(select).bind(tenant.as_str()).bind(place(position.0)).one(connection).await?.value()
}

/// As [`position`] in another set of read models that this connection sees, by the name of its `checkpoints`.
pub(crate) async fn position_in(
    connection: &mut Connection<'_>,
    checkpoints: &str,
    tenant: &TenantId,
    read_model: ReadModel,
) -> Result<Position, sqlx::Error> {
    let name = read_model.name();
    let select =
        format!("SELECT {name}_position FROM {checkpoints} WHERE tenant_id = $1 AND {name}_version = $2");
    let row = sql(select).bind(tenant.as_str()).bind(read_model.version()).optional(connection).await?;
    let position: Option<i64> = row.map(|row| row.value()).transpose()?;
    Ok(columns::position(position.unwrap_or_default())?)
}

#[cfg(test)]
mod tests;
