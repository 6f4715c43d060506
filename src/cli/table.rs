//! Rows of text under each other, each column as wide as its widest cell.

/// `right` are the columns of numbers, which stand at the right. The last column is not filled up.
pub(super) fn text<const N: usize>(rows: impl IntoIterator<Item = [String; N]>, right: &[usize]) -> String {
    let rows: Vec<[String; N]> = rows.into_iter().collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells = row.iter().enumerate().map(|(column, cell)| match widths[column] {
            width if right.contains(&column) => format!("{cell:>width$}"),
            width => format!("{cell:<width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let row = |a: &str, b: &str, c: &str| [a.to_owned(), b.to_owned(), c.to_owned()];
        let rows = [row("ID", "N", "END"), row("é", "10", ""), row("long", "7", "x")];
        assert_eq!(text(rows, &[1]), "ID     N  END\né     10\nlong   7  x\n");
    }
}
