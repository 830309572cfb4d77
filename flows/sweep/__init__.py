"""A sweep: its flow, its cells in processes of their own, what it will cost, what it leaves."""
