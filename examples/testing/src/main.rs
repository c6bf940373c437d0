//! An endpoint with a day-long wait, and (in `tests/`) its test that takes milliseconds.

use onward::Onward;

#[tokio::main]
async fn main() -> Result<(), onward::Error> {
    let onward = Onward::open("sqlite:testing.db").await?;
    let app = example_testing::app(&onward);
    onward.serve("127.0.0.1:3000", app).await
}
