//! JSON Pointers (RFC 6901) as this crate builds and follows them.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// Appends one reference token to `pointer`, escaped.
pub(crate) fn push(pointer: &mut String, token: &str) {
    pointer.push('/');
    pointer.push_str(&escape(token));
}

/// `pointer` with one more reference token.
pub(crate) fn child(pointer: &str, token: &str) -> String {
    let mut child = String::with_capacity(pointer.len() + token.len() + 1);
    child.push_str(pointer);
    push(&mut child, token);
    child
}

/// The reference tokens of `pointer`, unescaped; none for the whole document.
pub(crate) fn tokens(pointer: &str) -> impl Iterator<Item = Cow<'_, str>> {
    pointer.split('/').skip(1).map(unescape)
}

/// Puts `value` at `pointer`, replacing or adding a member of an object or replacing an item of an array.
///
/// Missing objects on the way are made. Where something else stands in the way nothing is changed: there is no place for the value.
pub(crate) fn put(document: &mut Value, pointer: &str, value: Value) {
    let mut place = document;
    for token in tokens(pointer) {
        place = match place {
            Value::Object(members) => {
                members.entry(token.into_owned()).or_insert_with(|| Value::Object(Map::new()))
            }
            Value::Array(items) => match token.parse::<usize>().ok().and_then(|index| items.get_mut(index)) {
                Some(item) => item,
                None => return,
            },
            _ => return,
        };
    }
    *place = value;
}

/// Takes the member or the item at `pointer` away; nothing where there is none. An item leaves `null`, so that the others keep their places.
pub(crate) fn take(document: &mut Value, pointer: &str) {
    let Some((parent, last)) = pointer.rsplit_once('/') else { return };
    match document.pointer_mut(parent) {
        Some(Value::Object(members)) => drop(members.remove(&*unescape(last))),
        Some(Value::Array(items)) => {
            if let Some(item) = last.parse::<usize>().ok().and_then(|place| items.get_mut(place)) {
                *item = Value::Null;
            }
        }
        _ => {}
    }
}

/// As [`take`], with the objects around it that hold nothing else.
pub(crate) fn take_with_objects(document: &mut Value, pointer: &str) {
    take(document, pointer);
    let mut place = pointer;
    while let Some((parent, _)) = place.rsplit_once('/').filter(|(parent, _)| !parent.is_empty()) {
        if document
            .pointer(parent)
            .is_none_or(|object| object.as_object().is_none_or(|members| !members.is_empty()))
        {
            break;
        }
        take(document, parent);
        place = parent;
    }
}

fn escape(token: &str) -> Cow<'_, str> {
    if token.contains(['~', '/']) {
        Cow::Owned(token.replace('~', "~0").replace('/', "~1"))
    } else {
        Cow::Borrowed(token)
    }
}

fn unescape(token: &str) -> Cow<'_, str> {
    if token.contains('~') {
        Cow::Owned(token.replace("~1", "/").replace("~0", "~"))
    } else {
        Cow::Borrowed(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_taken_away_is_what_its_pointer_says() {
        let mut document = json!({"a": {"b/c": 1, "d": 2}, "list": [{"x": 1}, 5]});
        for pointer in ["/a/b~1c", "/list/0/x", "/list/1", "/list/7", "/a/d/e", "/none/of/it", ""] {
            take(&mut document, pointer);
        }
        assert_eq!(document, json!({"a": {"d": 2}, "list": [{}, null]}));
    }

    #[test]
    fn a_value_is_put_where_its_pointer_says_and_nowhere_else() {
        let mut document = json!({"a": {"b/c": 1}, "list": [{"x": 1}], "text": "t"});
        put(&mut document, "/a/b~1c", json!(2));
        put(&mut document, "/new/inner", json!(3));
        put(&mut document, "/list/0/y", json!(4));
        put(&mut document, "/list/7", json!(5));
        put(&mut document, "/text/inner", json!(6));
        assert_eq!(
            document,
            json!({"a": {"b/c": 2}, "new": {"inner": 3}, "list": [{"x": 1, "y": 4}], "text": "t"})
        );
    }
}
