module formledger.invalid/bench/go

go 1.22
