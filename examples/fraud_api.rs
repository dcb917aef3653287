//! The demo's query through the Rust API: users with more than one flagged transaction, as they change.
//!
//! `cargo run -p tidemill-producer -- --rate 20` in one terminal, `cargo run --example fraud_api` in another.

use std::time::Duration;

use datafusion::functions::expr_fn::concat;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::prelude::{col, lit};
use tidemill::session::{Console, OutputMode, Session, Socket, Trigger, WriteStream};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let session = Session::builder().name("fraud").build()?;
    let transactions = session
        .read_stream("transactions")
        .from(Socket::connect("127.0.0.1:5555")?.durable(false))
        .json("name STRING, surname STRING, amount DOUBLE, delta_t DOUBLE, flag INT")?
        .load()?;
    let query = transactions
        .filter(col("flag").eq(lit(1)))?
        .aggregate(vec![concat(vec![col("name"), col("surname")]).alias("user")], vec![count(lit(1)).alias("transactions")])?
        .filter(col("transactions").gt(lit(1)))?
        .write_stream("suspicious")
        .output_mode(OutputMode::Update)
        .trigger(Trigger::every(Duration::from_secs(2)))
        .to(Console::default().truncate(None))
        .start()
        .await?;
    query.await_termination().await?;
    Ok(())
}
