module github.com/orderhub/orderhub/services/orderctl

go 1.26.0

require (
	github.com/orderhub/orderhub/libs/model v0.0.0
	github.com/orderhub/orderhub/libs/orderdb v0.0.0
	github.com/orderhub/orderhub/libs/platform v0.0.0
	github.com/orderhub/orderhub/libs/deadletter v0.0.0
	github.com/orderhub/orderhub/migrations v0.0.0
)

replace (
	github.com/orderhub/orderhub/libs/model => ../../libs/model
	github.com/orderhub/orderhub/libs/orderdb => ../../libs/orderdb
	github.com/orderhub/orderhub/libs/platform => ../../libs/platform
	github.com/orderhub/orderhub/libs/deadletter => ../../libs/deadletter
	github.com/orderhub/orderhub/migrations => ../../migrations
)
