"""The distillation core: what is learned (`synthetic`), what is compared (`matching`) and when (`methods`)."""
