// Makes MongoDB ready for the services: the replica set, the roles of roles.json, and a user of the
// same name for each role, whose password is in MONGO_<USER>_PASSWORD.
//
// It may run any number of times. Compose and the dev overlay run it as the health check. For a
// MongoDB of your own run it as somebody who may create users and roles (docs/operations.md).

const fs = require("fs");

const DATABASE = process.env.MONGO_DATABASE || "gateway";
const ROLES = JSON.parse(fs.readFileSync(`${__dirname}/roles.json`, "utf8"));

function initiate(host) {
  try {
    rs.initiate({ _id: "rs0", members: [{ _id: 0, host }] });
  } catch (error) {
    print(`cannot initiate the replica set: ${error.message}`);
    quit(1);
  }
}

// MongoDB lets whoever is on its own machine make the first user, and after that nobody.
function logInAsRoot(password) {
  const admin = db.getSiblingDB("admin");
  try {
    admin.auth("root", password);
    return;
  } catch (error) {
    if (error.codeName !== "AuthenticationFailed") throw error;
  }
  try {
    admin.createUser({ user: "root", pwd: password, roles: ["root"] });
  } catch (error) {
    print(`MONGO_ROOT_PASSWORD is not the password of the user root: ${error.message}`);
    quit(1);
  }
  admin.auth("root", password);
}

function privilegesOf(rules) {
  return rules.flatMap(({ collections, actions }) =>
    collections.map((collection) => ({ resource: { db: DATABASE, collection }, actions })),
  );
}

function putRole(database, name) {
  const role = { privileges: privilegesOf(ROLES[name]), roles: [] };
  if (database.getRole(name) === null) database.createRole({ role: name, ...role });
  else database.updateRole(name, role);
}

function putUser(database, name, password) {
  const user = { pwd: password, roles: [name], mechanisms: ["SCRAM-SHA-256"] };
  if (database.getUser(name) === null) database.createUser({ user: name, ...user });
  else database.updateUser(name, user);
}

function putRolesAndUsers() {
  const database = db.getSiblingDB(DATABASE);
  for (const name of Object.keys(ROLES)) {
    putRole(database, name);
    const password = process.env[`MONGO_${name.toUpperCase()}_PASSWORD`];
    if (password) putUser(database, name, password);
    else print(`MONGO_${name.toUpperCase()}_PASSWORD is not set: only the role ${name} is made`);
  }
}

const { MONGO_MEMBER, MONGO_ROOT_PASSWORD, MONGO_DONE } = process.env;
if (MONGO_MEMBER && !db.hello().setName) initiate(MONGO_MEMBER);
if (!db.hello().isWritablePrimary) quit(1);
// What is done stays done until the container starts again, maybe with other passwords.
if (!(MONGO_DONE && fs.existsSync(MONGO_DONE))) {
  if (MONGO_ROOT_PASSWORD) logInAsRoot(MONGO_ROOT_PASSWORD);
  putRolesAndUsers();
  if (MONGO_DONE) fs.writeFileSync(MONGO_DONE, "");
}
