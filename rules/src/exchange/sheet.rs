//! A decision table between two formats: what both sides read and write.
//!
//! Part of [`super`]. Cells and inputs are texts of our language here; the formats translate.

use serde_json::{Map, Value as Json, json};

use super::{ExchangeError, put};
use crate::ruleset::{Definition, Hit, Kind, Problems, read_definitions};

/// A table.
pub(super) struct Sheet {
    pub id: String,
    /// `unique`, `first`, `priority`, or `collect` with its aggregate after a space.
    pub hit: String,
    pub inputs: Vec<String>,
    /// The keys of the results; empty when rows say a value instead of an object.
    pub outputs: Vec<String>,
    pub rows: Vec<SheetRow>,
    pub otherwise: Option<Json>,
}

/// A row of a table.
pub(super) struct SheetRow {
    pub when: Vec<String>,
    /// One value an output, `None` where the row says nothing for it.
    pub then: Vec<Option<Json>>,
    pub description: Option<String>,
    pub priority: f64,
}

impl Sheet {
    /// The rule, as a form definition holds it.
    pub fn into_rule(self) -> Json {
        let (hit, aggregate) = self.hit.split_once(' ').unwrap_or((&self.hit, ""));
        let mut rule = json!({"id": self.id, "kind": "table", "hit": hit, "inputs": self.inputs});
        if !aggregate.is_empty() {
            rule["aggregate"] = aggregate.into();
        }
        let outputs = &self.outputs;
        let row = |row: &SheetRow| {
            let mut json = json!({"when": row.when, "then": result(outputs, &row.then)});
            if let Some(description) = &row.description {
                json["description"] = description.as_str().into();
            }
            if row.priority != 0.0 {
                json["priority"] = row.priority.into();
            }
            json
        };
        rule["rows"] = self.rows.iter().map(row).collect();
        if let Some(otherwise) = &self.otherwise {
            rule["otherwise"] = otherwise.clone();
        }
        rule
    }
}

/// The result of a row: an object by output, or the only value.
pub(super) fn result(outputs: &[String], values: &[Option<Json>]) -> Json {
    if outputs.is_empty() {
        return values.first().cloned().flatten().unwrap_or(Json::Null);
    }
    let mut object = Map::new();
    for (name, value) in outputs.iter().zip(values) {
        if let Some(value) = value {
            put(&mut object, name, value.clone());
        }
    }
    Json::Object(object)
}

/// The tables among rules, and remarks on what is left out.
pub(super) fn of_rules(rules: &Json) -> Result<(Vec<Sheet>, Vec<String>), ExchangeError> {
    let mut problems = Problems::default();
    let definitions = read_definitions(rules, &mut problems);
    if let Some(problem) = problems.found.first() {
        return Err(ExchangeError::new(format!("{}: {}", problem.pointer, problem.message)));
    }
    let mut remarks = Vec::new();
    let sheets = definitions.iter().filter_map(|definition| {
        let sheet = sheet_of(definition);
        if sheet.is_none() {
            remarks.push(format!("`{}` is no table and was left out", definition.id));
        }
        sheet
    });
    Ok((sheets.collect(), remarks))
}

fn sheet_of(definition: &Definition) -> Option<Sheet> {
    let Kind::Table(table) = &definition.kind else { return None };
    let mut outputs: Vec<String> = Vec::new();
    let objects = table.rows.iter().map(|row| &row.then).chain(&table.otherwise).all(Json::is_object);
    if objects {
        for members in
            table.rows.iter().map(|row| &row.then).chain(&table.otherwise).filter_map(Json::as_object)
        {
            outputs.extend(members.keys().filter(|key| !outputs.contains(key)).cloned().collect::<Vec<_>>());
        }
    }
    let rows = table.rows.iter().map(|row| SheetRow {
        when: row.when.clone(),
        then: match &row.then {
            Json::Object(members) if objects => outputs.iter().map(|key| members.get(key).cloned()).collect(),
            scalar => vec![Some(scalar.clone())],
        },
        description: row.description.clone(),
        priority: row.priority,
    });
    let hit = match table.hit {
        Hit::First => "first".to_owned(),
        Hit::Unique => "unique".to_owned(),
        Hit::Priority => "priority".to_owned(),
        Hit::Collect(collect) => format!("collect {}", format!("{collect:?}").to_lowercase()),
    };
    Some(Sheet {
        id: definition.id.to_string(),
        hit,
        inputs: table.inputs.clone(),
        rows: rows.collect(),
        outputs,
        otherwise: table.otherwise.clone(),
    })
}

/// The rows with the highest priority first, for engines that know only the order of rows.
pub(super) fn by_priority(sheet: &Sheet) -> Vec<&SheetRow> {
    let mut rows: Vec<&SheetRow> = sheet.rows.iter().collect();
    if sheet.hit == "priority" {
        rows.sort_by(|a, b| b.priority.total_cmp(&a.priority));
    }
    rows
}
