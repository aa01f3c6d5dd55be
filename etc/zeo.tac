# A twistd configuration file: twistd -n -y etc/zeo.tac
#
# It serves Data.fs and blobs in the current folder at port 8100 of this machine, and is the place
# to add whatever else your Twisted application does.

from twisted.application.service import Application
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from ZODB.FileStorage import FileStorage

from zeotwisted.storageserver import ServerOptions, StorageServer

application = Application("zeo")

server = StorageServer(
    reactor,
    {"1": FileStorage("Data.fs", blob_dir="blobs")},
    ServerOptions(transaction_timeout=60),
)
for place in ["tcp:8100:interface=127.0.0.1"]:
    server.listen(serverFromString(reactor, place), place)
server.setServiceParent(application)
# After SIGTERM the exit code is 0, as supervisors expect; Twisted would end by the signal.
server.set_exit_code()
