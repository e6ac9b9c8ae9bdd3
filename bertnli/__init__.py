"""Natural language inference by fine-tuning BERT: one chapter, complete, on MXNet."""
