package report

// Chart draws the report.
func (r *Report) Chart() []byte { return []byte("<svg/>") }
