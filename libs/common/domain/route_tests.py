"""The account and the header by which the admin service has the gateway test a route.

A test is a call like any other, with an entry in the ledger. Calls of this account, and of no
other, may say in a header which deployment of the route has to serve them.
"""

TEST_USER_ID = "gateway-tests"
PIN_HEADER = b"x-gateway-deployment"
