//! Functions over values whose type only the plan knows: a list, a struct, or JSON as its text. Most of them say what they
//! mean in functions that DataFusion has, once the types are known; so what DataFusion and [`super::skip`] know of those
//! holds for these too.
//!
//! | function | meaning |
//! |---|---|
//! | `margay_path(value, step …)` | the value at a key or at an index from 0 |
//! | `margay_list(value)` | a list as it is, JSON as a list of texts |
//! | `margay_list_or_null(value)` | the same, with a single NULL in the place of an empty or missing list |
//! | `array_contains(list, value)` | also with its arguments the other way round, as Snowflake has them |
//! | `contains(value, part)` | of a list or a text |
//! | `array_size(list)`, `array_compact(list)` | number of elements; without NULLs |
//! | `margay_in_block(list, block)` | whether an address of the list is in `10.0.0.0/8` |
//! | `try_parse_json(text)` | the text, if it is JSON |

mod lists;

use std::any::Any;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::functions::core::expr_fn::get_field;
use datafusion::functions::unicode::expr_fn::strpos;
use datafusion::functions_nested::expr_fn::{array_element, array_has, array_length};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, cast,
    lit,
};
use datafusion::prelude::SessionContext;

pub(super) const PATH: &str = "margay_path";
pub(super) const LIST: &str = "margay_list";
pub(super) const LIST_OR_NULL: &str = "margay_list_or_null";
pub(super) const IN_BLOCK: &str = "margay_in_block";

pub(super) fn register(context: &SessionContext) {
    for kind in [
        Kind::Path,
        Kind::List,
        Kind::ListOrNull,
        Kind::ArrayContains,
        Kind::Contains,
        Kind::Size,
        Kind::Compact,
        Kind::Parsed,
        Kind::InBlock,
    ] {
        context.register_udf(kind.function());
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Path,
    List,
    ListOrNull,
    ArrayContains,
    Contains,
    Size,
    Compact,
    Parsed,
    InBlock,
}

impl Kind {
    fn function(self) -> ScalarUDF {
        // What is written out by other functions must not be evaluated before that.
        let volatility = match self {
            Kind::List | Kind::ListOrNull | Kind::Compact | Kind::Parsed | Kind::InBlock => Volatility::Immutable,
            Kind::Path | Kind::ArrayContains | Kind::Contains | Kind::Size => Volatility::Volatile,
        };
        ScalarUDF::from(Function { kind: self, signature: Signature::variadic_any(volatility) })
    }

    fn arguments(self) -> usize {
        match self {
            Kind::Path | Kind::ArrayContains | Kind::Contains | Kind::InBlock => 2,
            _ => 1,
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Function {
    kind: Kind,
    signature: Signature,
}

impl ScalarUDFImpl for Function {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        match self.kind {
            Kind::Path => PATH,
            Kind::List => LIST,
            Kind::ListOrNull => LIST_OR_NULL,
            Kind::ArrayContains => "array_contains",
            Kind::Contains => "contains",
            Kind::Size => "array_size",
            Kind::Compact => "array_compact",
            Kind::Parsed => "try_parse_json",
            Kind::InBlock => IN_BLOCK,
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        plan_err!("the type of {} depends on its arguments", self.name())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let types = args.arg_fields;
        let count = self.kind.arguments();
        if types.len() < count || (self.kind != Kind::Path && types.len() > count) {
            return plan_err!("{} takes {count} arguments and has {}", self.name(), types.len());
        }
        let first = types[0].data_type();
        let data_type = match self.kind {
            Kind::Path => {
                let mut data_type = first.clone();
                for step in &args.scalar_arguments[1..] {
                    data_type = stepped(&data_type, &Step::of(*step)?)?;
                }
                data_type
            }
            Kind::List | Kind::ListOrNull | Kind::Compact => list_type(first)?,
            Kind::ArrayContains | Kind::Contains | Kind::InBlock => DataType::Boolean,
            Kind::Size => DataType::Int64,
            Kind::Parsed => DataType::Utf8,
        };
        Ok(Arc::new(Field::new(self.name(), data_type, true)))
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let first = info.get_data_type(&args[0])?;
        let simplified = match self.kind {
            Kind::Path => {
                let mut value = args[0].clone();
                let mut data_type = first;
                for step in &args[1..] {
                    let Expr::Literal(step, _) = step else { return plan_err!("{NO_STEP}") };
                    let step = Step::of(Some(step))?;
                    value = taken(value, &data_type, &step)?;
                    data_type = stepped(&data_type, &step)?;
                }
                value
            }
            Kind::List if is_list(&first) && info.nullable(&args[0])? => args[0].clone(),
            Kind::ArrayContains => contained(&args[0], &args[1], info)?,
            Kind::Contains if is_list(&first) => contained(&args[0], &args[1], info)?,
            Kind::Contains => {
                let text = |value: &Expr| cast(value.clone(), DataType::Utf8);
                strpos(text(&args[0]), text(&args[1])).gt(lit(0_i32))
            }
            Kind::Size => cast(array_length(as_list(&args[0])), DataType::Int64),
            Kind::List | Kind::ListOrNull | Kind::Compact | Kind::Parsed | Kind::InBlock => {
                return Ok(ExprSimplifyResult::Original(args));
            }
        };
        Ok(ExprSimplifyResult::Simplified(simplified))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let values = args.args[0].to_array(args.number_rows)?;
        let made = match self.kind {
            Kind::List => lists::of(&values)?,
            Kind::ListOrNull => lists::or_null(&lists::of(&values)?)?,
            Kind::Compact => lists::without_nulls(&lists::of(&values)?)?,
            Kind::Parsed => lists::json_only(&values)?,
            Kind::InBlock => match &args.args[1] {
                ColumnarValue::Scalar(ScalarValue::Utf8(Some(block))) => lists::in_block(&lists::of(&values)?, block)?,
                _ => return exec_err!("{IN_BLOCK} needs a block such as '10.0.0.0/8'"),
            },
            Kind::Path | Kind::ArrayContains | Kind::Contains | Kind::Size => {
                return exec_err!("{} is written out when a query is planned", self.name());
            }
        };
        Ok(ColumnarValue::Array(made))
    }
}

const NO_STEP: &str = "a step into a value must be the name of a field or a number from 0 on";

/// One step into a value.
enum Step {
    Key(String),
    Index(i64),
}

impl Step {
    fn of(value: Option<&ScalarValue>) -> Result<Step> {
        match value {
            Some(ScalarValue::Utf8(Some(key)) | ScalarValue::Utf8View(Some(key))) => Ok(Step::Key(key.clone())),
            Some(ScalarValue::Int64(Some(index))) => Ok(Step::Index(*index)),
            _ => plan_err!("{NO_STEP}"),
        }
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8)
}

fn is_list(data_type: &DataType) -> bool {
    matches!(data_type, DataType::List(_))
}

fn list_type(data_type: &DataType) -> Result<DataType> {
    match data_type {
        DataType::List(_) => Ok(data_type.clone()),
        text if is_text(text) => Ok(DataType::new_list(DataType::Utf8, true)),
        DataType::Null => Ok(DataType::new_list(DataType::Utf8, true)),
        other => plan_err!("a value of type {other} is no list"),
    }
}

fn stepped(data_type: &DataType, step: &Step) -> Result<DataType> {
    match (data_type, step) {
        (DataType::Struct(_), Step::Key(key)) => Ok(field_of(data_type, key)?.data_type().clone()),
        (DataType::List(item), Step::Index(_)) => Ok(item.data_type().clone()),
        (text, _) if is_text(text) => Ok(DataType::Utf8),
        (DataType::Null, _) => Ok(DataType::Utf8),
        (other, Step::Key(key)) => plan_err!("a value of type {other} has no field `{key}`"),
        (other, Step::Index(index)) => plan_err!("a value of type {other} has no element {index}"),
    }
}

fn field_of<'a>(data_type: &'a DataType, key: &str) -> Result<&'a FieldRef> {
    let DataType::Struct(fields) = data_type else { return plan_err!("`{key}` is looked for in no struct") };
    let exact = fields.iter().find(|field| field.name() == key);
    match exact.or_else(|| fields.iter().find(|field| field.name().eq_ignore_ascii_case(key))) {
        Some(field) => Ok(field),
        None => {
            let near = crate::logtype::schema::suggestion(key, fields.iter().map(|field| field.name().as_str()));
            let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            plan_err!("there is no field `{key}`{near}")
        }
    }
}

fn taken(value: Expr, data_type: &DataType, step: &Step) -> Result<Expr> {
    Ok(match (data_type, step) {
        (DataType::Struct(_), Step::Key(key)) => get_field(value, field_of(data_type, key)?.name().as_str()),
        // Counted from 0 as in JSON, where DataFusion counts from 1.
        (DataType::List(_), Step::Index(index)) => array_element(value, lit(index + 1)),
        (_, Step::Key(key)) => json_as_text(value, lit(key.as_str())),
        (_, Step::Index(index)) => json_as_text(value, lit(*index)),
    })
}

fn json_as_text(value: Expr, step: Expr) -> Expr {
    datafusion_functions_json::udfs::json_as_text_udf().call(vec![cast(value, DataType::Utf8), step])
}

fn as_list(value: &Expr) -> Expr {
    Kind::List.function().call(vec![value.clone()])
}

/// Whichever of the two is the list; of two texts the one that is not written in the query, else the second.
fn contained(first: &Expr, second: &Expr, info: &SimplifyContext) -> Result<Expr> {
    let (first_type, second_type) = (info.get_data_type(first)?, info.get_data_type(second)?);
    let is_first = match (is_list(&first_type), is_list(&second_type)) {
        (true, false) => true,
        (false, true) => false,
        _ => matches!(second, Expr::Literal(..)) && !matches!(first, Expr::Literal(..)),
    };
    let (list, list_type_, value, value_type) =
        if is_first { (first, first_type, second, second_type) } else { (second, second_type, first, first_type) };
    let DataType::List(item) = list_type(&list_type_)? else { return plan_err!("{list_type_} is no list") };
    let value =
        if *item.data_type() == value_type { value.clone() } else { cast(value.clone(), item.data_type().clone()) };
    let list = if is_list(&list_type_) { list.clone() } else { as_list(list) };
    Ok(array_has(list, value))
}
