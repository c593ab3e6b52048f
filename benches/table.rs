//! The table that `make bench` prints: a figure a row, its goal beside it.

/// One row.
pub struct Row {
    what: String,
    measured: String,
    goal: &'static str,
    met: Option<bool>,
}

impl Row {
    /// A figure that has a goal.
    pub fn goal(what: impl Into<String>, measured: String, goal: &'static str, met: bool) -> Self {
        Self { what: what.into(), measured, goal, met: Some(met) }
    }

    /// A figure that explains others.
    pub fn figure(what: impl Into<String>, measured: String) -> Self {
        Self { what: what.into(), measured, goal: "-", met: None }
    }

    /// A stage that could not be measured.
    pub fn failed(stage: &str, error: &dyn std::error::Error) -> Self {
        Self { what: format!("stage `{stage}`"), measured: error.to_string(), goal: "-", met: Some(false) }
    }
}

/// Prints all of them to standard output.
pub fn print(rows: &[Row]) {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("\n{cores} cores, {}, {}\n", std::env::consts::ARCH, std::env::consts::OS);
    println!("| what | measured | goal | met |");
    println!("| --- | --- | --- | --- |");
    for Row { what, measured, goal, met } in rows {
        let met = met.map_or("-", |met| if met { "yes" } else { "NO" });
        println!("| {what} | {measured} | {goal} | {met} |");
    }
}
