//! The SQL that people write here: Snowflake's, in which public queries are written, with what ANSI has beside it.

use std::any::TypeId;

use datafusion::sql::sqlparser::dialect::{Dialect, Precedence, SnowflakeDialect};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

/// The parser asks a dialect for each thing that it may take.
#[derive(Debug)]
pub(super) struct LakeDialect;

const SNOWFLAKE: SnowflakeDialect = SnowflakeDialect;

/// What is taken beyond what a dialect has by itself.
macro_rules! takes {
    ($($what:ident)*) => { $(fn $what(&self) -> bool { true })* };
}

impl Dialect for LakeDialect {
    fn dialect(&self) -> TypeId {
        SNOWFLAKE.dialect()
    }

    fn is_identifier_start(&self, character: char) -> bool {
        character.is_alphabetic() || character == '_'
    }

    fn is_identifier_part(&self, character: char) -> bool {
        character.is_alphanumeric() || character == '_' || character == '$'
    }

    takes! {
        allow_extract_custom
        allow_extract_single_quotes
        supports_dictionary_syntax
        supports_extract_comma_syntax
        supports_filter_during_aggregation
        supports_from_trailing_commas
        supports_group_by_expr
        supports_group_by_with_modifier
        supports_match_recognize
        supports_parens_around_table_factor
        supports_partiql
        supports_projection_trailing_commas
        supports_select_wildcard_except
        supports_select_wildcard_exclude
        supports_select_wildcard_ilike
        supports_select_wildcard_rename
        supports_select_wildcard_replace
        supports_string_literal_backslash_escape
        supports_subquery_as_function_arg
        supports_values_as_table_factor
        supports_window_clause_named_window_reference
        supports_window_function_null_treatment_arg
        supports_within_after_array_aggregation
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        match parser.peek_token_ref().token {
            Token::Colon => Some(Ok(self.prec_value(Precedence::DoubleColon))),
            _ => None,
        }
    }

    fn is_reserved_for_identifier(&self, keyword: Keyword) -> bool {
        // `INTERVAL '7 days'` is a value here.
        matches!(keyword, Keyword::INTERVAL) || SNOWFLAKE.is_reserved_for_identifier(keyword)
    }

    fn is_column_alias(&self, keyword: &Keyword, parser: &mut Parser) -> bool {
        *keyword != Keyword::QUALIFY && SNOWFLAKE.is_column_alias(keyword, parser)
    }

    fn is_table_alias(&self, keyword: &Keyword, parser: &mut Parser) -> bool {
        SNOWFLAKE.is_table_alias(keyword, parser)
    }

    fn is_table_factor(&self, keyword: &Keyword, parser: &mut Parser) -> bool {
        SNOWFLAKE.is_table_factor(keyword, parser)
    }
}
