//! Medians, ratios and spreads: a table for people, JSON for programs.

use serde::Serialize;

/// Several measurements of the same thing.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) runs: Vec<f64>,
}

impl Figure {
    /// `values` must not be empty.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Figure {
        let runs: Vec<f64> = values.into_iter().collect();
        let mut sorted = runs.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Figure { median, min: sorted[0], max: sorted[sorted.len() - 1], runs }
    }

    /// The ratio to `peer`, pair by pair: run n of one against run n of the other, so that a machine
    /// whose speed drifts does not spoil the comparison.
    pub(crate) fn ratio_to(&self, peer: &Figure) -> Figure {
        Figure::of(self.runs.iter().zip(&peer.runs).map(|(ours, theirs)| ours / theirs))
    }
}

/// One line of the report.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    pub(crate) ours: Figure,
    /// The peer in the same run, its name and figures, and ours over its, where there is one.
    pub(crate) peer: Option<(&'static str, Figure)>,
    pub(crate) ratio: Option<Figure>,
    /// What the ratio (or, without a peer, the figure) is to stay under.
    pub(crate) aim: Option<f64>,
}

impl Row {
    /// A figure of ours against a peer's.
    pub(crate) fn against(
        what: impl Into<String>,
        unit: &'static str,
        ours: Figure,
        (name, peer): (&'static str, Figure),
        aim: Option<f64>,
    ) -> Row {
        let ratio = Some(ours.ratio_to(&peer));
        Row { what: what.into(), unit, ours, peer: Some((name, peer)), ratio, aim }
    }

    /// A figure that stands alone.
    pub(crate) fn alone(
        what: impl Into<String>,
        unit: &'static str,
        ours: Figure,
        aim: Option<f64>,
    ) -> Row {
        Row { what: what.into(), unit, ours, peer: None, ratio: None, aim }
    }
}

/// Everything one call of the bench found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: String,
    pub(crate) backlog: String,
    pub(crate) pairs: usize,
    pub(crate) rows: Vec<Row>,
}

impl Report {
    /// The report as a table.
    pub(crate) fn table(&self) -> String {
        let mut lines = vec![
            format!("{} ({} pairs, {})", self.backlog, self.pairs, self.machine),
            format!(
                "{:<46} {:>9} {:>9}  {:<20} {:>22} {:>6}",
                "", "pgtrail", "peer", "", "ratio (min-max)", "aim"
            ),
        ];
        lines.extend(self.rows.iter().map(row_text));
        lines.join("\n")
    }
}

fn row_text(row: &Row) -> String {
    let (peer, name) = match &row.peer {
        Some((name, figure)) => (format!("{:.3}", figure.median), *name),
        None => (String::new(), ""),
    };
    let ratio = row.ratio.as_ref().map_or_else(String::new, |ratio| {
        format!("{:.2} ({:.2}-{:.2})", ratio.median, ratio.min, ratio.max)
    });
    let aim = row.aim.map_or_else(String::new, |aim| format!("{aim}"));
    format!(
        "{:<46} {:>9.3} {peer:>9}  {name:<20} {ratio:>22} {aim:>6}",
        format!("{}, {}", row.what, row.unit),
        row.ours.median
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_paired_ratios() {
        let ours = Figure::of([2.0, 4.0, 3.0]);
        let theirs = Figure::of([1.0, 4.0, 2.0]);
        assert_eq!((ours.min, ours.median, ours.max), (2.0, 3.0, 4.0));
        assert_eq!(ours.ratio_to(&theirs).median, 1.5);
        assert_eq!(Figure::of([1.0, 2.0]).median, 1.5);
    }
}
