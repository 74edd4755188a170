//! Result tables in Markdown and CSV.

/// Rows of text under column names.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

#[derive(Clone, Debug)]
struct Column {
    name: String,
    numeric: bool,
}

impl Table {
    /// A table with these columns; a name that ends in `:` makes a right-aligned column.
    pub(crate) fn new(columns: &[&str]) -> Self {
        let columns = columns.iter().map(|name| Column {
            name: name.trim_end_matches(':').to_owned(),
            numeric: name.ends_with(':'),
        });
        Self { columns: columns.collect(), rows: Vec::new() }
    }

    /// Adds a row with a cell for each column.
    pub(crate) fn row(&mut self, cells: impl Into<Vec<String>>) {
        let cells = cells.into();
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells);
    }

    /// Columns lined up, as `llama-bench` writes them.
    pub(crate) fn markdown(&self) -> String {
        let rows: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| row.iter().map(|cell| in_one_line(cell)).collect())
            .collect();
        let width = |i: usize| {
            let cells = rows.iter().map(|row| row[i].chars().count());
            cells.chain([self.columns[i].name.chars().count(), 2]).max().unwrap_or(2)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let mut line = String::from("|");
            for ((cell, column), &width) in cells.zip(&self.columns).zip(&widths) {
                line += &match column.numeric {
                    true => format!(" {cell:>width$} |"),
                    false => format!(" {cell:width$} |"),
                };
            }
            line + "\n"
        };
        let mut text = line(&mut self.columns.iter().map(|c| c.name.as_str()));
        text.push('|');
        for (column, &width) in self.columns.iter().zip(&widths) {
            let dashes = "-".repeat(width);
            text += &if column.numeric { format!(" {dashes}:|") } else { format!(" {dashes} |") };
        }
        text.push('\n');
        for row in &rows {
            text += &line(&mut row.iter().map(String::as_str));
        }
        text
    }

    /// A header line and one line per row (RFC 4180 quotes, line feeds).
    pub(crate) fn csv(&self) -> String {
        let quote = |cell: &str| {
            if cell.contains([',', '"', '\n', '\r']) {
                format!("\"{}\"", cell.replace('"', "\"\""))
            } else {
                cell.to_owned()
            }
        };
        let names: Vec<String> = self.columns.iter().map(|c| quote(&c.name)).collect();
        let mut text = names.join(",") + "\n";
        for row in &self.rows {
            let cells: Vec<String> = row.iter().map(|cell| quote(cell)).collect();
            text += &(cells.join(",") + "\n");
        }
        text
    }
}

/// A cell as Markdown can hold it: a bar or a line break would end it.
fn in_one_line(cell: &str) -> String {
    let mut text = String::with_capacity(cell.len());
    for c in cell.chars() {
        match c {
            '|' => text.push_str("\\|"),
            c if c.is_control() => text.extend(c.escape_default()),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["test", "t/s:"]);
        table.row(["pp512".to_owned(), "1.5".to_owned()]);
        table.row(["a,\"b\"".to_owned(), "±".to_owned()]);
        table
    }

    #[test]
    fn markdown_lines_up() {
        assert_eq!(
            table().markdown(),
            "| test  | t/s |\n| ----- | ---:|\n| pp512 | 1.5 |\n| a,\"b\" |   ± |\n"
        );
    }

    #[test]
    fn a_cell_stays_in_its_row() {
        let mut table = Table::new(&["id:", "piece"]);
        table.row(["1".to_owned(), "|\n".to_owned()]);
        table.row(["2".to_owned(), "four".to_owned()]);
        assert_eq!(
            table.markdown(),
            "| id | piece |\n| --:| ----- |\n|  1 | \\|\\n  |\n|  2 | four  |\n"
        );
        assert_eq!(table.csv(), "id,piece\n1,\"|\n\"\n2,four\n");
    }

    #[test]
    fn csv_quotes_what_must_be() {
        assert_eq!(table().csv(), "test,t/s\npp512,1.5\n\"a,\"\"b\"\"\",±\n");
    }
}
