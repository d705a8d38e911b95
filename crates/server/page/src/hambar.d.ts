// A file that the build puts beside the scripts: its address.
declare module "hambar:countries.topojson" {
  const address: string;
  export default address;
}
