//! The names that an expression reads, before anything is known of types and slots: by them rules are ordered and explained.
//!
//! Beside the checker, because what a macro's variables hide has to be the same for both.

use super::macros::{Bound, bound};
use crate::syntax::{Expr, ExprKind};

/// Adds the longest dotted name at every place where `expr` reads one that is no variable of a macro around it.
pub(crate) fn names_read(expr: &Expr<'_>, found: &mut Vec<String>) {
    collect(expr, &mut Vec::new(), found);
}

/// `scope` holds the variables of the macros around `expr`.
fn collect<'s>(expr: &Expr<'s>, scope: &mut Vec<&'s str>, found: &mut Vec<String>) {
    if let Some(name) = expr.qualified_name() {
        if !is_local(expr, scope) {
            found.push(name);
        }
        return;
    }
    let macro_call = match &expr.kind {
        ExprKind::Call { target: Some(target), name, args, .. } => bound(target, name, args),
        _ => None,
    };
    let Some(Bound { variables, outside, inside }) = macro_call else {
        return expr.parts().into_iter().for_each(|part| collect(part, scope, found));
    };
    collect(outside, scope, found);
    let height = scope.len();
    scope.extend(variables);
    inside.iter().for_each(|part| collect(part, scope, found));
    scope.truncate(height);
}

/// Whether a path starts at a macro's variable; `.name` never does.
fn is_local(expr: &Expr<'_>, scope: &[&str]) -> bool {
    match &expr.kind {
        ExprKind::Ident { name, absolute } => !absolute && scope.contains(name),
        ExprKind::Select { operand, .. } => is_local(operand, scope),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::syntax::parse;
    use crate::{Field, Layout, ObjectType, Program, Type};

    const NAMES: [&str; 4] = ["l", "m", "o", "x"];

    /// Fields by which every expression below makes sense, whichever of them a name means.
    fn layout() -> Layout {
        let fields = NAMES.map(|name| Field::required(name, Type::Dyn));
        Layout::new(Arc::new(ObjectType::new(fields, false)))
    }

    #[test]
    fn a_variable_of_a_macro_hides_a_field_in_what_the_macro_does_and_nowhere_else() {
        let layout = layout();
        for (source, reads) in [
            ("l.map(x, x + 1)", "l"),
            ("x.map(x, x + 1)", "x"),
            ("l.map(x, x.y.z + m)", "l m"),
            ("l.map(x, .x + 1)", "l x"),
            ("l.map(x, x > 1, x + m)", "l m"),
            ("l.exists(x, x > 1) && x > 2", "l x"),
            ("l.all(x, m.exists(x, x > 1))", "l m"),
            ("l.all(x, x.exists(x, x > 1) && x == 1)", "l"),
            ("l.all(m, x.exists(x, x > m))", "l x"),
            ("l.exists_one(x, m, x > m)", "l"),
            ("m.transformMap(l, x, l > 1, x)", "m"),
            ("l.sortBy(x, x.o)", "l"),
            ("o.optMap(x, x + 1).orValue(x)", "o x"),
            ("o.optFlatMap(x, optional.of(x))", "o optional"),
            ("cel.bind(x, x + 1, x + m)", "m x"),
            ("[1, 2].filter(x, x > 1).map(l, {'x': l})", ""),
            // Not a macro's shape: nothing is hidden.
            ("l.slice(x, m)", "l m x"),
        ] {
            let mut names = Vec::new();
            names_read(&parse(source).expect(source), &mut names);
            names.sort();
            names.dedup();
            assert_eq!(names.join(" "), reads, "{source}");
            // The checker has the last word.
            let program = Program::compile(source, &layout).expect(source);
            let uses =
                NAMES.iter().filter(|name| program.uses().contains(layout.slot(&[name]).expect("a field")));
            let fields: Vec<&str> = reads.split(' ').filter(|name| NAMES.contains(name)).collect();
            assert_eq!(uses.copied().collect::<Vec<_>>(), fields, "{source}");
        }
    }
}
