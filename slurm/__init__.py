"""Jobs on machines; knows no model, task or experiment."""
