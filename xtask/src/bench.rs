//! The benchmarks.

pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let mut all = vec!["run", "--release", "--locked", "-p", "onward-bench", "--"];
    if args.is_empty() {
        all.push("all");
    }
    all.extend(args.iter().map(String::as_str));
    crate::check::cargo(&all, &[])
}
