// From what stands in the form to the body of POST /api/drops/create.
//
// Only what would not fit into JSON is found here, and what is missing, so that all of it is said at once. Every
// other rule is the API's, which says itself what is wrong.

/**
 * Reads the form. rows are the sizes, [{size, stock}] as typed.
 *
 * @returns {{body: object, problems: {field: string, problem: string}[]}} fields are named as the API names them.
 */
export function readDraft(form, rows) {
  const problems = [];
  const typed = (name) => form.elements[name].value.trim();

  function required(field, value) {
    if (value === "") problems.push({ field, problem: "is required" });
    return value;
  }

  function number(field, text) {
    if (/^-?\d+(\.\d+)?$/.test(text)) return Number(text);
    if (text !== "") problems.push({ field, problem: "must be a number, such as 60 or 129.95" });
    return undefined;
  }

  function time(field) {
    const input = form.elements[field];
    if (input.validity.badInput) problems.push({ field, problem: "is not a complete time" });
    else if (field === "start_time") required(field, input.value);
    return input.value === "" ? undefined : fromLocal(input.value);
  }

  const body = {
    name: required("name", typed("name")),
    price: number("price", required("price", typed("price"))),
    start_time: time("start_time"),
    end_time: time("end_time"),
    hold_seconds: number("hold_seconds", typed("hold_seconds")),
    limit_per_customer: number("limit_per_customer", typed("limit_per_customer")),
    image_url: typed("image_url") || undefined,
  };
  if (rows.length > 0) {
    body.sizes = rows.map(({ size, stock }, i) => ({
      size: required(`sizes[${i}].size`, size),
      stock: number(`sizes[${i}].stock`, required(`sizes[${i}].stock`, stock)),
    }));
  } else {
    body.total_stock = number("total_stock", required("total_stock", typed("total_stock")));
  }
  return { body, problems };
}

/** A time in ms as a datetime-local field of this time zone takes it, whole seconds. */
export function toLocal(ms) {
  const date = new Date(ms);
  const two = (n) => String(n).padStart(2, "0");
  const day = [String(date.getFullYear()).padStart(4, "0"), two(date.getMonth() + 1), two(date.getDate())].join("-");
  return `${day}T${[date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(":")}`;
}

/** The text of such a field as ISO 8601 in UTC. What is no time here (the year 10000) stays as it is: the API refuses it. */
export function fromLocal(text) {
  const date = new Date(text);
  return Number.isNaN(date.getTime()) ? text : date.toISOString();
}
