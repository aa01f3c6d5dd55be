import sys, time, logging, importlib
logging.lastResort=None
from .steps import *
from .loops import *
m = importlib.import_module("tests.anomaly."+sys.argv[1])
for n in (sys.argv[2:] or m.__all__):
    k = getattr(m, n)
    t=time.time()
    print(fail_all(k, (BROKEN, GONE, TORN, FULL)), kill_all(k, (KILLED, KILLED_IN_A_WRITE)), time.time()-t)
