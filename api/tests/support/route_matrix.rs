/// What stands before the matrix in the page.
const START: &str = "<!-- routes: made from the router's table -->\n";
/// What stands behind it.
const END: &str = "<!-- end of routes -->\n";
