//! Reading and writing JDM, GoRules' JSON: the decision table nodes of a graph.
//!
//! Part of [`super`]. A node with the id of its rule; nodes of other types are remarked on.

use serde_json::{Map, Value as Json, json};

use super::ExchangeError;
use super::feel::{self, Dialect};
use super::sheet::{Sheet, SheetRow, by_priority};

const CONTENT_TYPE: &str = "application/vnd.gorules.decision";
const TABLE: &str = "decisionTableNode";
/// The input of a column that tests no field: each of its cells is a condition of its own.
const NO_FIELD: &str = "0";

pub(super) fn read(document: &str, remarks: &mut Vec<String>) -> Result<Vec<Sheet>, ExchangeError> {
    let document: Json = serde_json::from_str(document)
        .map_err(|error| ExchangeError::new(format!("it is no JSON that can be read: {error}")))?;
    let nodes = document["nodes"].as_array().ok_or_else(|| ExchangeError::new("it has no `nodes`"))?;
    let mut sheets = Vec::new();
    for node in nodes {
        let name = node["name"].as_str().or(node["id"].as_str()).unwrap_or("node");
        match node["type"].as_str() {
            Some(TABLE) => {
                sheets.push(
                    sheet(name, &node["content"], remarks)
                        .map_err(|error| error.within(format!("the table `{name}`")))?,
                );
            }
            Some("inputNode" | "outputNode") => {}
            other => {
                remarks
                    .push(format!("the node `{name}` of type `{}` was left out", other.unwrap_or_default()));
            }
        }
    }
    Ok(sheets)
}

/// A column: the id under which rows hold its cells, and its field.
struct Column<'c> {
    id: &'c str,
    field: Option<&'c str>,
}

/// A member that is a text; `None` where it is missing, null or blank.
fn text<'c>(of: &'c Json, member: &str) -> Result<Option<&'c str>, ExchangeError> {
    match &of[member] {
        Json::Null => Ok(None),
        Json::String(text) => Ok(Some(text.as_str()).filter(|text| !text.trim().is_empty())),
        other => Err(ExchangeError::new(format!("`{member}` is `{other}`, no text"))),
    }
}

/// A member that is a list; empty where it is missing.
fn list<'c>(of: &'c Json, member: &str) -> Result<&'c [Json], ExchangeError> {
    match &of[member] {
        Json::Null => Ok(&[]),
        Json::Array(items) => Ok(items),
        other => Err(ExchangeError::new(format!("`{member}` is `{other}`, no list"))),
    }
}

fn columns<'c>(content: &'c Json, member: &str) -> Result<Vec<Column<'c>>, ExchangeError> {
    let column = |column: &'c Json| {
        let id = text(column, "id")?
            .ok_or_else(|| ExchangeError::new(format!("a column of `{member}` has no `id`")))?;
        let field = text(column, "field")
            .map_err(|error| error.within(format!("the column `{id}` of `{member}`")))?;
        Ok(Column { id, field })
    };
    list(content, member)?.iter().map(column).collect()
}

fn sheet(name: &str, content: &Json, remarks: &mut Vec<String>) -> Result<Sheet, ExchangeError> {
    let hit = match text(content, "hitPolicy")?.unwrap_or("first") {
        known @ ("first" | "collect") => known.to_owned(),
        other => return Err(ExchangeError::new(format!("the hit policy `{other}` has no counterpart here"))),
    };
    surroundings(name, content, remarks)?;
    let (inputs, outputs) = (columns(content, "inputs")?, columns(content, "outputs")?);
    let fields: Vec<Option<String>> = inputs
        .iter()
        .map(|input| input.field.map(|field| feel::input(field, Dialect::Zen)).transpose())
        .collect::<Result<_, _>>()?;
    let mut rows = Vec::new();
    for (rule, at) in list(content, "rules")?.iter().zip(1..) {
        rows.push(row(rule, &inputs, &fields, &outputs).map_err(|error| error.within(format!("row {at}")))?);
    }
    // Without a name a result could be put nowhere, and the names of the others would be given to the wrong values.
    let names = outputs.iter().map(|output| {
        let unnamed =
            || ExchangeError::new(format!("the column `{}` of `outputs` has no `field`", output.id));
        output.field.map(str::to_owned).ok_or_else(unnamed)
    });
    let id = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' });
    Ok(Sheet {
        id: id.collect(),
        hit,
        outputs: names.collect::<Result<_, _>>()?,
        inputs: fields.into_iter().map(|field| field.unwrap_or_else(|| NO_FIELD.to_owned())).collect(),
        rows,
        otherwise: None,
    })
}

/// What a node says about where its data come from and its result goes to.
fn surroundings(name: &str, content: &Json, remarks: &mut Vec<String>) -> Result<(), ExchangeError> {
    if let Some(mode) = text(content, "executionMode")?.filter(|mode| *mode != "single") {
        return Err(ExchangeError::new(format!(
            "the execution mode `{mode}` has no counterpart here: a table decides once"
        )));
    }
    if let Some(field) = text(content, "inputField")? {
        return Err(ExchangeError::new(format!(
            "it reads inside `{field}` (`inputField`), which has no counterpart here: its columns must name whole paths"
        )));
    }
    if let Some(path) = text(content, "outputPath")? {
        remarks.push(format!(
            "`{name}`: its result is not put under `{path}` (`outputPath`) but is its outcome"
        ));
    }
    if content["passThrough"] == Json::Bool(true) {
        remarks
            .push(format!("`{name}`: its outcome holds its results, without what it read (`passThrough`)"));
    }
    Ok(())
}

fn row(
    rule: &Json,
    inputs: &[Column<'_>],
    fields: &[Option<String>],
    outputs: &[Column<'_>],
) -> Result<SheetRow, ExchangeError> {
    let cell = |column: &Column<'_>| Ok(text(rule, column.id)?.unwrap_or_default());
    let when = inputs
        .iter()
        .zip(fields)
        .map(|(column, field)| feel::cell(cell(column)?, Dialect::Zen, field.as_deref()));
    let then = outputs.iter().map(|column| feel::output(cell(column)?));
    Ok(SheetRow {
        when: when.collect::<Result<_, _>>()?,
        then: then.collect::<Result<_, _>>()?,
        description: text(rule, "_description")?.map(str::to_owned),
        priority: 0.0,
    })
}

pub(super) fn write(sheets: &[Sheet], remarks: &mut Vec<String>) -> String {
    let mut nodes =
        vec![json!({"id": "request", "name": "Request", "type": "inputNode", "position": {"x": 0, "y": 0}})];
    let mut edges = Vec::new();
    for (at, sheet) in sheets.iter().enumerate() {
        let position = json!({"x": 300, "y": at * 120});
        nodes.push(json!({"id": sheet.id, "name": sheet.id, "type": TABLE, "position": position,
                          "content": content(sheet, remarks)}));
        edges.push(
            json!({"id": format!("in.{at}"), "type": "edge", "sourceId": "request", "targetId": sheet.id}),
        );
        edges.push(
            json!({"id": format!("out.{at}"), "type": "edge", "sourceId": sheet.id, "targetId": "response"}),
        );
    }
    nodes.push(
        json!({"id": "response", "name": "Response", "type": "outputNode", "position": {"x": 600, "y": 0}}),
    );
    let document = json!({"contentType": CONTENT_TYPE, "nodes": nodes, "edges": edges});
    format!("{document:#}\n")
}

fn content(sheet: &Sheet, remarks: &mut Vec<String>) -> Json {
    let hit = match sheet.hit.as_str() {
        "first" => "first",
        "collect list" => "collect",
        "unique" => {
            remarks.push(format!("`{}`: JDM has no `unique`; its rows stand under `first`", sheet.id));
            "first"
        }
        "priority" => {
            remarks.push(format!("`{}`: rows stand in the order of their priority, under `first`", sheet.id));
            "first"
        }
        other => {
            remarks.push(format!("`{}`: JDM has no `{other}`; its rows stand under `collect`", sheet.id));
            "collect"
        }
    };
    let input = |at: usize, text: &String| match text.as_str() {
        NO_FIELD => json!({"id": format!("in{at}"), "name": "Condition", "type": "expression"}),
        field => json!({"id": format!("in{at}"), "name": field, "type": "expression", "field": field}),
    };
    let outputs: &[String] = if sheet.outputs.is_empty() { &["value".to_owned()] } else { &sheet.outputs };
    let output = |at: usize, field: &String| json!({"id": format!("out{at}"), "name": field, "type": "expression", "field": field});
    let mut rules: Vec<Json> = Vec::new();
    for (at, row) in by_priority(sheet).into_iter().enumerate() {
        let mut rule = Map::from_iter([("_id".to_owned(), Json::from(format!("{}.{at}", sheet.id)))]);
        if let Some(description) = &row.description {
            rule.insert("_description".to_owned(), description.as_str().into());
        }
        for (column, cell) in row.when.iter().enumerate() {
            let plain = feel::plain_cell(cell).unwrap_or_else(|| {
                remarks.push(format!("`{cell}` is written as it is; another engine may read it otherwise"));
                cell.clone()
            });
            rule.insert(format!("in{column}"), if plain == "-" { String::new() } else { plain }.into());
        }
        for column in 0..outputs.len() {
            let value = row.then.get(column).and_then(Option::as_ref).map_or_else(String::new, feel::value);
            rule.insert(format!("out{column}"), value.into());
        }
        rules.push(Json::Object(rule));
    }
    if let Some(otherwise) = &sheet.otherwise {
        let mut rule = Map::from_iter([("_id".to_owned(), Json::from(format!("{}.otherwise", sheet.id)))]);
        for (column, key) in outputs.iter().enumerate() {
            let value = if sheet.outputs.is_empty() { Some(otherwise) } else { otherwise.get(key) };
            rule.insert(format!("out{column}"), value.map_or_else(String::new, feel::value).into());
        }
        if hit == "first" {
            rules.push(Json::Object(rule));
        } else {
            remarks.push(format!("`{}`: JDM cannot say what `collect` gives when nothing matches", sheet.id));
        }
    }
    json!({
        "hitPolicy": hit,
        "inputs": sheet.inputs.iter().enumerate().map(|(at, text)| input(at, text)).collect::<Vec<_>>(),
        "outputs": outputs.iter().enumerate().map(|(at, field)| output(at, field)).collect::<Vec<_>>(),
        "rules": rules,
    })
}
