//! The select list: `*` expanded, names given, aliases of earlier entries at hand for later ones.

use std::ops::ControlFlow;

use arrow::datatypes::DataType;
use datafusion::logical_expr::Expr;
use sqlparser::ast::{self, Ident, SelectItem};

use super::super::expression::access;
use super::aggregate::has_aggregate;
use super::columns::{Access, Attribute, Relation, column, find, place, same_name, unresolved, written};
use super::from;
use super::generate::{self, Generator};
use super::planner::{Env, Planner, broken};
use super::scope::QueryScope;
use super::select::Item;
use super::shown;
use crate::error::{Error, ErrorKind, Result};
use datafusion::common::tree_node::TreeNode;

/// A resolved select list.
pub(super) struct Selection {
    /// Its values. A generator's list is one of them.
    pub items: Vec<Item>,
    /// `explode` and its like, applied one after the other.
    pub generators: Vec<Generator>,
}

impl Selection {
    /// The columns of the result, in order.
    pub(super) fn outputs(&self) -> Vec<Attribute> {
        let mut outputs = Vec::with_capacity(self.items.len());
        for item in &self.items {
            match self.generators.iter().find(|generator| generator.list_id == item.attribute.id) {
                Some(generator) => outputs.extend(generator.outputs.iter().cloned()),
                None => outputs.push(item.attribute.clone()),
            }
        }
        outputs
    }

    /// The plan columns that a generator yields.
    pub(super) fn generated_ids(&self) -> impl Iterator<Item = String> {
        self.generators.iter().flat_map(|generator| generator.outputs.iter().map(|output| output.id.clone()))
    }
}

/// Resolves the list of `select` over `input`.
pub(super) fn resolve(planner: &Planner<'_>, select: &ast::Select, input: &Relation, env: &Env<'_>) -> Result<Selection> {
    let mut list = Selection { items: Vec::with_capacity(select.projection.len()), generators: Vec::new() };
    for entry in &select.projection {
        match entry {
            SelectItem::Wildcard(options) => {
                if select.from.is_empty() {
                    return Err(Error::spark(ErrorKind::Config, "INVALID_USAGE_OF_STAR_OR_REGEX", "`*` needs a FROM clause"));
                }
                let columns: Vec<Attribute> = input.listed().cloned().collect();
                list.items.extend(excepted(columns, options)?.into_iter().map(plain));
            }
            SelectItem::QualifiedWildcard(kind, options) => {
                list.items.extend(qualified_star(planner, kind, options, input, env)?)
            }
            SelectItem::UnnamedExpr(expr) => add(planner, &mut list, expr, &[], input, env)?,
            SelectItem::ExprWithAlias { expr, alias } => add(planner, &mut list, expr, std::slice::from_ref(alias), input, env)?,
            SelectItem::ExprWithAliases { expr, aliases } => add(planner, &mut list, expr, aliases, input, env)?,
        }
    }
    Ok(list)
}

fn add(
    planner: &Planner<'_>,
    list: &mut Selection,
    expr: &ast::Expr,
    aliases: &[Ident],
    input: &Relation,
    env: &Env<'_>,
) -> Result<()> {
    // Columns that stand for a star are found by table and name, but show their name alone.
    let shown = stars_expanded(expr, input, false)?;
    let shown = shown.as_ref().unwrap_or(expr);
    let expanded = stars_expanded(expr, input, true)?;
    let expr = expanded.as_ref().unwrap_or(expr);
    let mut earlier: Vec<Attribute> = list.items.iter().filter(|item| item.aliased).map(|item| item.attribute.clone()).collect();
    earlier.extend(
        list.generators.iter().filter(|generator| generator.aliased).flat_map(|generator| generator.outputs.iter().cloned()),
    );
    let scope = QueryScope::new(planner, env, vec![&input.columns, &earlier]);
    if let Some(call) = generate::call(expr) {
        let (item, generator) = generate::in_list(&scope, &call, aliases)?;
        list.items.push(item);
        list.generators.push(generator);
        return Ok(());
    }
    let alias = match aliases {
        [] => None,
        [alias] => Some(alias),
        _ => {
            let message = format!("{} names are given to one value: {expr}", aliases.len());
            return Err(Error::spark(ErrorKind::Config, "MULTI_ALIAS_WITHOUT_GENERATOR", message));
        }
    };
    let typed = scope.resolve(expr).map_err(|error| generate::refused_if_nested(error, expr))?;
    refuse_alias_in_aggregate(&typed.expr, &earlier)?;
    let passed_on = match (&typed.expr, alias) {
        (Expr::Column(name), None) if !is_kept(expr) => input.columns.iter().find(|attribute| attribute.id == name.name),
        _ => None,
    };
    if let Some(attribute) = passed_on {
        // The name as it is written here, whatever case the column has.
        let name = last_part(expr).unwrap_or_else(|| attribute.name.clone());
        list.items.push(plain(Attribute { name, access: Access::Listed, ..attribute.clone() }));
        return Ok(());
    }
    let name = alias.map_or_else(|| shown::name(shown, &input.columns, &scope), |alias| alias.value.clone());
    let id = planner.fresh(&name);
    let attribute =
        Attribute { name, qualifier: None, id, data_type: typed.data_type, nullable: typed.nullable, access: Access::Listed };
    list.items.push(Item { attribute, expr: typed.expr, aliased: true });
    Ok(())
}

/// `expr` with `*` and `t.*` among a function's arguments replaced by the columns they stand for; nothing if there is none.
/// `count(*)` counts rows and stays.
fn stars_expanded(expr: &ast::Expr, input: &Relation, qualified: bool) -> Result<Option<ast::Expr>> {
    let has_star = ast::visit_expressions(expr, |node| match node {
        ast::Expr::Function(function) if star_arguments(function).is_some() => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    if has_star.is_continue() {
        return Ok(None);
    }
    let mut expr = expr.clone();
    let outcome = ast::visit_expressions_mut(&mut expr, |node| {
        let ast::Expr::Function(function) = node else { return ControlFlow::Continue(()) };
        if star_arguments(function).is_none() {
            return ControlFlow::Continue(());
        }
        let name = function.name.to_string();
        let ast::FunctionArguments::List(list) = &mut function.args else { return ControlFlow::Continue(()) };
        match star_columns(std::mem::take(&mut list.args), &name, input, qualified) {
            Ok(args) => {
                list.args = args;
                if name.eq_ignore_ascii_case("struct") {
                    *node = struct_of(std::mem::take(&mut list.args));
                }
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        }
    });
    match outcome {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(Some(expr)),
    }
}

/// A struct as the parser writes it where it has no star.
fn struct_of(args: Vec<ast::FunctionArg>) -> ast::Expr {
    let values = args.into_iter().filter_map(|arg| match arg {
        ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    });
    ast::Expr::Struct { values: values.collect(), fields: Vec::new() }
}

/// The arguments of a call that has a star among them, unless it is `count(*)`, which counts rows; `count(DISTINCT *)` is of columns.
fn star_arguments(function: &ast::Function) -> Option<&[ast::FunctionArg]> {
    let ast::FunctionArguments::List(list) = &function.args else { return None };
    let is_count = matches!(function.name.0.as_slice(), [name] if name.to_string().eq_ignore_ascii_case("count"));
    let is_distinct = list.duplicate_treatment == Some(ast::DuplicateTreatment::Distinct);
    let bare_count =
        is_count && !is_distinct && matches!(list.args.as_slice(), [ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Wildcard)]);
    let is_star = |arg: &ast::FunctionArg| {
        use ast::FunctionArgExpr as Arg;
        matches!(arg, ast::FunctionArg::Unnamed(Arg::Wildcard | Arg::QualifiedWildcard(_)))
    };
    (!bare_count && list.args.iter().any(is_star)).then_some(&list.args)
}

fn star_columns(args: Vec<ast::FunctionArg>, function: &str, input: &Relation, qualified: bool) -> Result<Vec<ast::FunctionArg>> {
    let mut expanded = Vec::with_capacity(args.len());
    for arg in args {
        let table = match &arg {
            ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Wildcard) => None,
            ast::FunctionArg::Unnamed(ast::FunctionArgExpr::QualifiedWildcard(name)) => Some(from::identifiers(name)?),
            _ => {
                expanded.push(arg);
                continue;
            }
        };
        let of_table = |attribute: &&Attribute| match (&table, &attribute.qualifier) {
            (None, _) => true,
            (Some(table), Some(qualifier)) => matches!(table.as_slice(), [table] if same_name(qualifier, &table.value)),
            (Some(_), None) => false,
        };
        let mut columns = input.listed().filter(of_table).peekable();
        if columns.peek().is_none()
            && let ast::FunctionArg::Unnamed(ast::FunctionArgExpr::QualifiedWildcard(name)) = &arg
            && let Some(members) = members_of(&from::identifiers(name)?, input, qualified)?
        {
            expanded.extend(members);
            continue;
        }
        if table.is_some() && function.eq_ignore_ascii_case("count") {
            let message = format!("count({arg}) is not allowed; use count(*) or name the columns");
            return Err(Error::spark(ErrorKind::Config, "INVALID_USAGE_OF_STAR_WITH_TABLE_IDENTIFIER_IN_COUNT", message));
        }
        if columns.peek().is_none() {
            let message = format!("{arg} as an argument of {function} stands for no column");
            return Err(Error::spark(ErrorKind::Config, "CANNOT_RESOLVE_STAR_EXPAND", message));
        }
        expanded.extend(columns.map(|attribute| {
            let name = Ident::with_quote('`', &attribute.name);
            let expr = match attribute.qualifier.as_ref().filter(|_| qualified) {
                Some(qualifier) => ast::Expr::CompoundIdentifier(vec![Ident::with_quote('`', qualifier), name]),
                None => ast::Expr::Identifier(name),
            };
            ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr))
        }));
    }
    Ok(expanded)
}

/// The fields of a struct as arguments; where they are shown and not `resolved`, with the name that Spark gives each on the way.
fn members_of(path: &[Ident], input: &Relation, resolved: bool) -> Result<Option<Vec<ast::FunctionArg>>> {
    let Some((attribute, used)) = find(&input.columns, path)? else { return Ok(None) };
    let mut data_type = &attribute.data_type;
    for name in &path[used..] {
        let DataType::Struct(members) = data_type else { return Ok(None) };
        let Some(member) = members.iter().find(|member| same_name(member.name(), &name.value)) else { return Ok(None) };
        data_type = member.data_type();
    }
    let DataType::Struct(members) = data_type else { return Err(no_struct(path)) };
    let member = |field: &std::sync::Arc<arrow::datatypes::Field>| {
        let fields = path[used..].iter().cloned().chain([Ident::with_quote('`', field.name())]);
        let expr = match resolved {
            true => ast::Expr::CompoundIdentifier(path[..used].iter().cloned().chain(fields).collect()),
            false => fields.fold(None, |whole, field| Some(shown_field(&path[..used], whole, field)))?,
        };
        Some(ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)))
    };
    Ok(members.iter().map(member).collect())
}

/// `column.field AS field`, or the field of what is a field already.
fn shown_field(column: &[Ident], whole: Option<ast::Expr>, name: Ident) -> ast::Expr {
    let expr = match whole {
        None => ast::Expr::CompoundIdentifier(column.iter().cloned().chain([name.clone()]).collect()),
        Some(root) => {
            let access_chain = vec![ast::AccessExpr::Dot(ast::Expr::Identifier(name.clone()))];
            ast::Expr::CompoundFieldAccess { root: Box::new(root), access_chain }
        }
    };
    ast::Expr::Named { expr: Box::new(expr), name }
}

fn no_struct(path: &[Ident]) -> Error {
    let message = format!("{}.* needs a struct or a table{}", written(path), place(path));
    Error::spark(ErrorKind::Config, "_LEGACY_ERROR_TEMP_1050", message)
}

/// Whether Spark prints what stands around a column although it computes nothing.
fn is_kept(expr: &ast::Expr) -> bool {
    match expr {
        ast::Expr::Nested(inner) => is_kept(inner),
        ast::Expr::Collate { .. } => true,
        ast::Expr::UnaryOp { op, .. } => *op == ast::UnaryOperator::Plus,
        ast::Expr::Function(function) => function.name.to_string().eq_ignore_ascii_case("positive"),
        _ => false,
    }
}

fn last_part(expr: &ast::Expr) -> Option<String> {
    match expr {
        ast::Expr::Identifier(name) => Some(name.value.clone()),
        ast::Expr::CompoundIdentifier(parts) => parts.last().map(|part| part.value.clone()),
        _ => None,
    }
}

/// An input column as it is.
fn plain(attribute: Attribute) -> Item {
    Item { expr: column(&attribute.id), attribute, aliased: false }
}

fn refuse_alias_in_aggregate(expr: &Expr, earlier: &[Attribute]) -> Result<()> {
    if earlier.is_empty() || !has_aggregate(expr) {
        return Ok(());
    }
    let is_alias = |node: &Expr| matches!(node, Expr::Column(name) if earlier.iter().any(|attribute| attribute.id == name.name));
    let inside = expr.exists(|node| match node {
        Expr::AggregateFunction(_) => node.exists(|inner| Ok(is_alias(inner))),
        _ => Ok(false),
    });
    if inside.map_err(broken)? {
        let message = "an alias of the same select list cannot be used inside an aggregate function";
        return Err(Error::spark(ErrorKind::Config, "UNSUPPORTED_FEATURE.LATERAL_COLUMN_ALIAS_IN_AGGREGATE_FUNC", message));
    }
    Ok(())
}

/// `t.*`, or the fields of a struct column.
fn qualified_star(
    planner: &Planner<'_>,
    kind: &ast::SelectItemQualifiedWildcardKind,
    options: &ast::WildcardAdditionalOptions,
    input: &Relation,
    env: &Env<'_>,
) -> Result<Vec<Item>> {
    let parts = match kind {
        ast::SelectItemQualifiedWildcardKind::ObjectName(name) => from::identifiers(name)?,
        ast::SelectItemQualifiedWildcardKind::Expr(expr) => {
            return Err(Error::spark(ErrorKind::Config, "PARSE_SYNTAX_ERROR", format!("({expr}).* is not supported")));
        }
    };
    if let [table] = parts.as_slice() {
        let of_table = |attribute: &&Attribute| attribute.qualifier.as_deref().is_some_and(|q| same_name(q, &table.value));
        let hidden = input.columns.iter().filter(|attribute| attribute.access == Access::Qualified);
        let columns: Vec<Attribute> = hidden
            .chain(input.listed())
            .filter(of_table)
            .map(|attribute| Attribute { access: Access::Listed, ..attribute.clone() })
            .collect();
        if !columns.is_empty() {
            return Ok(excepted(columns, options)?.into_iter().map(plain).collect());
        }
    }
    if find(&input.columns, &parts)?.is_none() {
        let known = input.columns.iter().filter_map(|attribute| attribute.qualifier.as_deref());
        let near = super::super::suggest::nearest(&parts[0].value, known, 3).join(", ");
        let message = format!(
            "cannot resolve {}.* among the tables and struct columns here, nearest: [{near}]{}",
            written(&parts),
            place(&parts)
        );
        return Err(Error::spark(ErrorKind::Config, "CANNOT_RESOLVE_STAR_EXPAND", message));
    }
    let scope = QueryScope::new(planner, env, vec![&input.columns]);
    let whole = super::super::Scope::column(&scope, &parts)?;
    let DataType::Struct(members) = &whole.data_type else { return Err(no_struct(&parts)) };
    let mut items = Vec::with_capacity(members.len());
    for member in members {
        let typed = access::field(whole.clone(), member.name(), planner.settings)?;
        let attribute = Attribute {
            name: member.name().clone(),
            qualifier: None,
            id: planner.fresh(member.name()),
            data_type: typed.data_type,
            nullable: typed.nullable,
            access: Access::Listed,
        };
        items.push(Item { attribute, expr: typed.expr, aliased: true });
    }
    let kept = excepted(items.iter().map(|item| item.attribute.clone()).collect(), options)?;
    items.retain(|item| kept.iter().any(|attribute| attribute.id == item.attribute.id));
    Ok(items)
}

/// `* EXCEPT (a, b)`.
fn excepted(mut columns: Vec<Attribute>, options: &ast::WildcardAdditionalOptions) -> Result<Vec<Attribute>> {
    if options.opt_ilike.is_some()
        || options.opt_exclude.is_some()
        || options.opt_replace.is_some()
        || options.opt_rename.is_some()
        || options.opt_alias.is_some()
    {
        return Err(Error::spark(ErrorKind::Config, "PARSE_SYNTAX_ERROR", "after `*` only EXCEPT (…) is supported"));
    }
    let Some(except) = &options.opt_except else { return Ok(columns) };
    for name in std::iter::once(&except.first_element).chain(&except.additional_elements) {
        if find(&columns, std::slice::from_ref(name))?.is_none() {
            return Err(unresolved(std::slice::from_ref(name), columns.iter()));
        }
        columns.retain(|attribute| !same_name(&attribute.name, &name.value));
    }
    Ok(columns)
}
