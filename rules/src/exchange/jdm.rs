//! Reading and writing JDM, GoRules' JSON: the decision table nodes of a graph.
//!
//! Part of [`super`]. A node with the id of its rule; nodes of other types are remarked on.

use serde_json::{Map, Value as Json, json};

use super::sheet::{Sheet, SheetRow, by_priority};
use super::{ExchangeError, feel};

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
                    sheet(name, &node["content"])
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

fn columns<'c>(content: &'c Json, member: &str) -> Result<Vec<Column<'c>>, ExchangeError> {
    let columns = content[member].as_array().map_or(&[][..], Vec::as_slice);
    let column = |column: &'c Json| {
        let id = column["id"]
            .as_str()
            .ok_or_else(|| ExchangeError::new(format!("a column of `{member}` has no `id`")))?;
        Ok(Column { id, field: column["field"].as_str().filter(|field| !field.trim().is_empty()) })
    };
    columns.iter().map(column).collect()
}

fn sheet(name: &str, content: &Json) -> Result<Sheet, ExchangeError> {
    let hit = match content["hitPolicy"].as_str().unwrap_or("first") {
        known @ ("first" | "collect") => known.to_owned(),
        other => return Err(ExchangeError::new(format!("the hit policy `{other}` has no counterpart here"))),
    };
    let (inputs, outputs) = (columns(content, "inputs")?, columns(content, "outputs")?);
    let fields: Vec<String> = inputs
        .iter()
        .map(|input| input.field.map_or(Ok(NO_FIELD.to_owned()), feel::input))
        .collect::<Result<_, _>>()?;
    let mut rows = Vec::new();
    for (at, rule) in content["rules"].as_array().map_or(&[][..], Vec::as_slice).iter().enumerate() {
        let place = |error: ExchangeError| error.within(format!("row {}", at + 1));
        let text = |column: &Column<'_>| rule[column.id].as_str().unwrap_or_default();
        let when = inputs.iter().zip(&fields).map(|(column, field)| feel::cell(text(column), field));
        let then = outputs.iter().map(|column| feel::output(text(column)));
        rows.push(SheetRow {
            when: when.collect::<Result<_, _>>().map_err(place)?,
            then: then.collect::<Result<_, _>>().map_err(place)?,
            description: rule["_description"].as_str().filter(|text| !text.is_empty()).map(str::to_owned),
            priority: 0.0,
        });
    }
    let outputs = outputs.iter().filter_map(|output| output.field.map(str::to_owned)).collect();
    let id = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' });
    Ok(Sheet { id: id.collect(), hit, inputs: fields, outputs, rows, otherwise: None })
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
