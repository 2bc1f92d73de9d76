//! When the hosts of a group are there, from a file: a line for each stay, `host,from_s,until_s`. Hosts are counted from 1 in
//! their group; without `until_s` a host stays to the end. Lines that begin with `#`, and a heading, are passed over.

use std::collections::BTreeMap;
use std::path::Path;

/// Stays of the hosts of a group, seconds from the beginning to the end; in order, host by host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Churn(BTreeMap<usize, Vec<(f64, f64)>>);

impl Churn {
    /// Reads the stays of a group of `count` hosts.
    ///
    /// # Errors
    /// The file, the line, and what would be right.
    pub fn read(path: &Path, count: usize) -> Result<Churn, String> {
        let file = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|why| format!("{file}: {why}: give the path of a file of stays"))?;
        Churn::parse(&text, &file.to_string(), count)
    }

    fn parse(text: &str, file: &str, count: usize) -> Result<Churn, String> {
        let mut churn = Churn::default();
        for (n, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with(['#', 'h']) {
                continue;
            }
            churn.add(line, count).map_err(|what| format!("{file}:{}: {what}", n + 1))?;
        }
        Ok(churn)
    }

    /// Stays of a host of the group, counted from 0.
    pub fn of(&self, host: usize) -> &[(f64, f64)] {
        self.0.get(&host).map_or(&[], Vec::as_slice)
    }

    fn add(&mut self, line: &str, count: usize) -> Result<(), String> {
        let right = || format!("`{line}` must be host,from_s,until_s, such as 3,60,7200 or 3,60,");
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        let [host, from, until] = cells[..] else { return Err(right()) };
        let host: usize = host.parse().map_err(|_| right())?;
        let from: f64 = from.parse().map_err(|_| right())?;
        let until = if until.is_empty() { Ok(f64::INFINITY) } else { until.parse() };
        let until: f64 = until.map_err(|_| right())?;
        if !(1..=count).contains(&host) {
            return Err(format!("host {host} must be 1 to {count}, the group's `count`"));
        }
        let stays = self.0.entry(host - 1).or_default();
        let after = stays.last().map_or(0.0, |(_, until)| *until);
        // Not `from < after`: a NaN has to be refused too.
        if !(from >= after && until > from) {
            return Err(format!(
                "host {host} must come at {after} s or later and leave after that: put its stays in order"
            ));
        }
        stays.push((from, until));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Churn, String> {
        Churn::parse(text, "stays.csv", 3)
    }

    #[test]
    fn stays_are_read_host_by_host() {
        let churn = read("# evening\nhost,from_s,until_s\n\n1,0,10\n3, 5.5 ,\n1,20,30\n").unwrap();
        assert_eq!(churn.of(0), [(0.0, 10.0), (20.0, 30.0)]);
        assert_eq!(churn.of(1), []);
        assert_eq!(churn.of(2), [(5.5, f64::INFINITY)]);
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_line() {
        let right = "must be host,from_s,until_s, such as 3,60,7200 or 3,60,";
        for (text, why) in [
            ("1,0", format!("stays.csv:1: `1,0` {right}")),
            ("1,0,5\nx,1,2", format!("stays.csv:2: `x,1,2` {right}")),
            ("4,0,5", "stays.csv:1: host 4 must be 1 to 3, the group's `count`".into()),
        ] {
            assert_eq!(read(text).unwrap_err(), why);
        }
        for text in ["1,0,5\n1,4,6", "1,5,5", "1,NaN,5", "1,0,\n1,7,8", "1,-1,5"] {
            assert!(read(text).unwrap_err().contains("put its stays in order"), "{text}");
        }
    }
}
