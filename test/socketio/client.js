// An unmodified socket.io-client that tells on stdout, one JSON line each, what
// happens to it: node client.js <baseURL> <default|websocket>
// It ends when its stdin does, so that it never outlives the test that started it.
import { io } from "socket.io-client";

const [baseURL, transports] = process.argv.slice(2);
if (!baseURL || !["default", "websocket"].includes(transports)) {
  console.error("usage: node client.js <baseURL> <default|websocket>");
  process.exit(2);
}

const tell = (happening) => process.stdout.write(JSON.stringify(happening) + "\n");

// With "default" no option is given at all: that is what is to be tested.
const socket = transports === "websocket" ? io(baseURL, { transports: ["websocket"] }) : io(baseURL);

// The engine is a new one for each connection. It may have changed its transport
// before the server lets the socket in, so this cannot wait for "connect".
socket.io.on("open", () =>
  socket.io.engine.on("upgrade", (transport) => tell({ type: "upgrade", transport: transport.name })),
);
socket.on("connect", () => tell({ type: "connect", transport: socket.io.engine.transport.name }));
socket.onAny((name, payload) => tell({ type: "event", name, payload }));
socket.on("disconnect", (reason) => tell({ type: "disconnect", reason }));
socket.on("connect_error", ({ message }) => tell({ type: "connect_error", message }));

const end = () => {
  socket.disconnect();
  process.exit(0);
};
process.stdin.on("end", end).resume();
process.on("SIGTERM", end);
